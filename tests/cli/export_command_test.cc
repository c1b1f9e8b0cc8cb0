// The real program against the real server: export, import, doctor.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "tests/cli/program.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class ExportCommandTest : public testing::Test {
 protected:
  Finished Run(std::vector<std::string> arguments,
               const std::string& input = "") {
    ProgramOptions options;
    options.input = input;
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    return RunStreamnorm(arguments, options);
  }

  std::string Out(const std::vector<std::string>& arguments,
                  const std::string& input = "") {
    const Finished finished = Run(arguments, input);
    EXPECT_EQ(finished.code, 0) << finished.err;
    return finished.out;
  }

  // 569 rows of 30 features.
  void FitBreastCancer() {
    Out({"fit", "bc", STREAMNORM_TEST_DATA "/breast_cancer.csv", "--create",
         "--no-checkpoint"});
  }

  const TempDir dir_;
  ServerUnderTest server_{{"--listen", "unix:" + (dir_ / "socket"),
                           "--data_dir", dir_ / "data", "--log_level=error"}};
};

TEST_F(ExportCommandTest, WhatWasExportedIsImportedAsItWas) {
  FitBreastCancer();
  const std::string path = dir_ / "bc.json";
  Out({"export", "bc", "-O", path});
  EXPECT_THAT(Run({"import", path, "--as", "copy"}).err,
              HasSubstr("imported normalizers/copy (569 rows)"));
  EXPECT_THAT(Run({"import", path, "--as", "copy"}).err,
              HasSubstr("normalizers/copy is the same already"));
  Out({"delete", "bc"});
  Out({"import", "-"}, FileText(path));
  EXPECT_EQ(Out({"export", "bc", "--format", "csv"}),
            Out({"export", "copy", "--format", "csv"}));
}

TEST_F(ExportCommandTest, MissingValuesLeaveTheirCounts) {
  Out({"fit", "x", "-", "--create"}, "a,b\n1,2\n3,\n5,7\n");
  Out({"import", "-", "--as", "y"}, Out({"export", "x"}));
  EXPECT_EQ(Out({"export", "y", "--format", "csv"}),
            "feature,name,count,mean,variance,sd,min,max\n"
            "0,a,3,3,2.6666666666666665,1.632993161855452,1,5\n"
            "1,b,2,4.5,6.25,2.5,2,7\n");
}

TEST_F(ExportCommandTest, AnotherNormalizerOfThatNameIsLeftAlone) {
  FitBreastCancer();
  Out({"create", "other", "--features", "2"});
  const Finished refused =
      Run({"import", "-", "--as", "other"}, Out({"export", "bc"}));
  EXPECT_EQ(refused.code, 6);
  EXPECT_THAT(refused.err, HasSubstr("another one; take another id with --as"));
}

TEST_F(ExportCommandTest, ADamagedFileAndAWindowThatFadesAreRefused) {
  FitBreastCancer();
  std::string json = Out({"export", "bc"});
  EXPECT_EQ(Run({"import", "-"}, json.substr(0, json.size() / 2)).code, 1);
  const size_t digit = json.find("14.127");
  ASSERT_NE(digit, json.npos);
  json[digit] = '2';
  EXPECT_THAT(Run({"import", "-"}, json).err,
              HasSubstr("its checksum does not match"));

  Out({"create", "fading", "--features", "1", "--window-rows", "10"});
  Out({"fit", "fading", "-"}, "1\n2\n");
  EXPECT_THAT(Run({"import", "-", "--as", "y"}, Out({"export", "fading"})).err,
              HasSubstr("its window fades"));
}

TEST_F(ExportCommandTest, SafetensorsAndSklearnHoldTheSameNumbers) {
  Out({"fit", "x", "-", "--create"}, "a,b\n1,2\n3,2\n");
  const std::string bytes = Out({"export", "x", "--format", "safetensors"});
  EXPECT_THAT(
      bytes.substr(8),
      StartsWith("{\"num_batches_tracked\":{\"dtype\":\"I64\",\"shape\":[],"
                 "\"data_offsets\":[0,8]},\"running_mean\":{\"dtype\":\"F32\","
                 "\"shape\":[2],\"data_offsets\":[8,16]},\"running_var\":{"
                 "\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[16,24]}}"));
  const size_t header =
      static_cast<uint8_t>(bytes[0]) + 256u * static_cast<uint8_t>(bytes[1]);
  EXPECT_EQ(bytes.size(), 8 + header + 24);
  EXPECT_EQ(header % 8, 0u);
  const std::string sklearn = Out({"export", "x", "--format", "sklearn"});
  EXPECT_THAT(sklearn, HasSubstr("\"n_samples_seen_\": 2"));
  EXPECT_THAT(sklearn, HasSubstr("\"scale_\": [\n  1.0,\n  1.0\n ]"));
}

TEST_F(ExportCommandTest, DoctorFindsAHealthyServerAndOneThatIsAway) {
  const std::string healthy = Out({"doctor"});
  EXPECT_THAT(healthy, HasSubstr("ok    updates: accepted\n"));
  EXPECT_THAT(healthy, HasSubstr("ok    clock: the same as here\n"));
  server_.Kill();
  const Finished away = Run({"--timeout", "0.2", "doctor"});
  EXPECT_EQ(away.code, 1);
  EXPECT_THAT(away.out, StartsWith("fail  server: no answer from "));
}

}  // namespace
}  // namespace streamnorm
