// The real program against the real server: fit, and whatever ends it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "client/cli/fit_checkpoint.h"
#include "client/cli/npy.h"
#include "tests/cli/program.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;

using Arguments = std::vector<std::string>;

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

class FitCommandTest : public testing::Test {
 protected:
  Arguments With(Arguments arguments) {
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    return arguments;
  }

  Finished Run(const Arguments& arguments, const std::string& input = "") {
    ProgramOptions options;
    options.input = input;
    return RunStreamnorm(With(arguments), options);
  }

  std::string Out(const Arguments& arguments, const std::string& input = "") {
    const Finished finished = Run(arguments, input);
    EXPECT_EQ(finished.code, 0) << finished.err;
    return finished.out;
  }

  // What is wrong with arguments that have to fail.
  std::string Error(const Arguments& arguments, int code = 1) {
    const Finished finished = Run(arguments);
    EXPECT_EQ(finished.code, code) << finished.err;
    EXPECT_EQ(finished.out, "");
    return finished.err;
  }

  std::string Write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ / name, std::ios::binary) << text;
    return dir_ / name;
  }

  // Rows 0, 1, 2, ... with 7 beside: sums are exact, and a row that is missing
  // or twice shows.
  std::string WriteRows(const std::string& name, size_t rows) {
    std::string text = "a,b\n";
    for (size_t i = 0; i < rows; ++i) {
      text += std::to_string(i) + ",7\n";
    }
    return Write(name, text);
  }

  template <typename Value>
  std::string WriteNpy(const std::string& name, DataType type, size_t rows) {
    std::string bytes = NpyHeaderBytes({type, {rows, 2}});
    for (size_t i = 0; i < rows; ++i) {
      const Value row[] = {static_cast<Value>(i), Value{7}};
      bytes.append(reinterpret_cast<const char*>(row), sizeof(row));
    }
    return Write(name, bytes);
  }

  // "count,mean,variance" of feature 0.
  std::string Moments(const std::string& id) {
    const std::string csv = Out({"stats", id, "--features", "0", "-o", "csv"});
    return csv.substr(csv.find('\n') + 1);
  }

  std::string CheckpointOf(const std::string& path) {
    return path + ".streamnorm-fit";
  }
  bool HasCheckpoint(const std::string& path) {
    return std::filesystem::exists(CheckpointOf(path));
  }
  uint64_t RowsInCheckpoint(const std::string& path) {
    const auto checkpoint = LoadCheckpoint(CheckpointOf(path));
    return checkpoint.ok() && *checkpoint ? (*checkpoint)->rows : 0;
  }

  const TempDir dir_;
  ServerUnderTest server_{{"--listen", "unix:" + (dir_ / "socket"),
                           "--data_dir", dir_ / "data", "--log_level=error"}};
};

TEST_F(FitCommandTest, CountsTheRowsAndSumsUpInEveryFormat) {
  const std::string path = Write("rows.csv", "a,b\n1,2\n3,\n5,6\n");
  const Arguments fit = {"fit", "x", path, "--create", "-o"};
  const auto as = [&](const char* format) {
    Arguments arguments = fit;
    arguments.push_back(format);
    return Out(arguments);
  };
  EXPECT_EQ(as("table"),
            "NORMALIZER     FILES  ROWS  SKIPPED  ROW COUNT  REVISION\n"
            "normalizers/x      1     3        1          3         1\n");
  EXPECT_EQ(as("json"),
            "{\n \"normalizer\": \"normalizers/x\",\n"
            " \"files\": [\n  \"" +
                path +
                "\"\n ],\n"
                " \"rows\": 3,\n \"skipped_values\": 1,\n"
                " \"row_count\": 6,\n \"revision\": 2\n}\n");
  EXPECT_EQ(as("ndjson"),
            "{\"normalizer\":\"normalizers/x\",\"files\":[\"" + path +
                "\"],\"rows\":3,\"skipped_values\":1,\"row_count\":9,"
                "\"revision\":3}\n");
  EXPECT_EQ(as("csv"),
            "normalizer,files,rows,skipped_values,row_count,revision\n"
            "normalizers/x,1,3,1,12,4\n");
  EXPECT_EQ(as("name"), "x\n");
  EXPECT_FALSE(HasCheckpoint(path));
}

TEST_F(FitCommandTest, CountsAllFormatsAlike) {
  constexpr size_t kRows = 1000;
  std::string arrays, objects;
  for (size_t i = 0; i < kRows; ++i) {
    const std::string n = std::to_string(i);
    arrays += "[" + n + ", 7]\n";
    objects += "{\"b\": 7, \"id\": {\"of\": [\"x\"]}, \"a\": " + n + "}\n";
  }
  const std::string csv = WriteRows("rows.csv", kRows);
  Out({"create", "expected", "--features", "2"});
  Out({"normalize", "expected", csv, "--mode", "update", "--batch", "64"});
  const std::string expected = Moments("expected");
  const std::string npy32 =
      WriteNpy<float>("rows32.npy", DataType::kFp32, kRows);
  const std::string npy64 =
      WriteNpy<double>("rows64.npy", DataType::kFp64, kRows);
  for (const std::string& path : {csv, npy32, npy64, Write("arrays", arrays)}) {
    Out({"create", "x", "--features", "2"});
    Out({"fit", "x", path, "--batch", "64"});
    EXPECT_EQ(Moments("x"), expected) << path;
    Out({"delete", "x"});
  }
  Out({"create", "named", "--names", "a,b"});
  Out({"fit", "named", Write("objects", objects), "--batch", "64"});
  EXPECT_THAT(Moments("named"), HasSubstr("0,a,1000,499.5,83333.25,"));
}

TEST_F(FitCommandTest, TakesSeveralFilesAndStdin) {
  const std::string first = WriteRows("first.csv", 10);
  const std::string second = WriteNpy<float>("second.npy", DataType::kFp32, 20);
  Out({"create", "x", "--features", "2"});
  EXPECT_EQ(Out({"fit", "x", first, second, "-o", "csv"}),
            "normalizer,files,rows,skipped_values,row_count,revision\n"
            "normalizers/x,2,30,0,30,2\n");
  EXPECT_THAT(Out({"fit", "x", "-", "-o", "csv"}, "1,2\n3,4\n"),
              HasSubstr("normalizers/x,1,2,0,32,3\n"));
  EXPECT_THAT(Error({"fit", "x", "-", "--checkpoint", dir_ / "c"}, 2),
              HasSubstr("rows from stdin come only once"));
}

TEST_F(FitCommandTest, NamesThePlaceOfARowThatIsNoneAndGoesOnOnceItIsMended) {
  std::string text = "a,b\n";
  for (int i = 0; i < 100; ++i) text += std::to_string(i) + ",7\n";
  std::string bad = text;
  bad.replace(bad.find("\n90,7"), 5, "\n9o,7");
  const std::string path = Write("rows.csv", bad);
  Out({"create", "x", "--names", "a,b"});
  const std::string error = Error({"fit", "x", path, "--batch", "8"});
  EXPECT_THAT(error, HasSubstr("rows.csv:92: column 1 (\"a\"): \"9o\" is not a "
                               "number"));
  EXPECT_THAT(error, HasSubstr("88 rows are counted, and none after them"));
  EXPECT_THAT(error, HasSubstr("--mended"));

  Write("rows.csv", text + "100,7\n");
  EXPECT_THAT(Error({"fit", "x", path}, 6),
              HasSubstr("since 88 rows were counted"));
  EXPECT_THAT(Out({"fit", "x", path, "--mended", "-o", "csv"}),
              HasSubstr("normalizers/x,1,101,0,101,"));
  EXPECT_THAT(Moments("x"), HasSubstr("0,a,101,50,850,"));
}

TEST_F(FitCommandTest, ADryRunReadsAllAndCountsNothing) {
  const std::string path = WriteRows("rows.csv", 10);
  EXPECT_THAT(Run({"fit", "x", path, "--dry-run"}).err,
              HasSubstr("10 rows read, none counted"));
  EXPECT_THAT(Error({"fit", "x", Write("bad.csv", "a\n1\nb\n"), "--dry-run"}),
              HasSubstr("bad.csv:3: column 1"));
  EXPECT_EQ(Out({"list", "-o", "name"}), "");
}

TEST_F(FitCommandTest, RefusesWhatHasNoRowsOfThisNormalizer) {
  Out({"create", "x", "--names", "a,b"});
  EXPECT_THAT(Error({"fit", "x", Write("empty.csv", "")}),
              HasSubstr("empty.csv: empty, want a header or rows"));
  EXPECT_THAT(Error({"fit", "x", Write("other.csv", "a,c\n1,2\n")}),
              HasSubstr("no column \"b\""));
  EXPECT_THAT(Error({"fit", "x",
                     Write("bad.ndjson",
                           "{\"a\":1,\"b\":2}\n"
                           "{\"a\":1}\n")}),
              HasSubstr("bad.ndjson:2: no \"b\", want every feature"));
  EXPECT_THAT(Error({"fit", "x", dir_ / "none.csv"}),
              HasSubstr("No such file"));
  // The second file is looked at before the first is counted.
  EXPECT_THAT(Error({"fit", "x", WriteRows("rows.csv", 5),
                     Write("wide.csv", "1,2,3\n")}),
              HasSubstr("wide.csv: 3 columns, want 2"));
  EXPECT_THAT(Out({"fit", "x", Write("header.csv", "a,b\n"), "-o", "csv"}),
              HasSubstr("normalizers/x,1,0,0,0,0\n"));
  EXPECT_THAT(Error({"fit", "y", WriteRows("rows.csv", 5)}, 3),
              HasSubstr("normalizers/y"));
}

TEST_F(FitCommandTest, KilledAtAnyMomentItGoesOnAndCountsEveryRowOnce) {
  constexpr size_t kRows = 600'000;
  const std::string path = WriteRows("rows.csv", kRows);
  Out({"create", "x", "--features", "2"});
  const Arguments fit = With(
      {"fit", "x", path, "--batch", "16", "--checkpoint-interval", "0.02"});
  // First before any row counts, then at other places between two checkpoints.
  for (const auto delay_us : {0, 300, 1700, 5000, 11000, 17000}) {
    Program program(fit);
    const uint64_t before = RowsInCheckpoint(path);
    ASSERT_TRUE(Eventually([&] {
      return delay_us == 0 ? HasCheckpoint(path)
                           : RowsInCheckpoint(path) > before;
    }));
    std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
    program.Signal(SIGKILL);
    ASSERT_EQ(program.Wait().code, 128 + SIGKILL) << "it was too fast";
  }
  const Finished finished = RunStreamnorm(fit);
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("goes on from row "));
  // The mean of 0, 1, ..., n - 1.
  EXPECT_THAT(Moments("x"), HasSubstr("0,,600000,299999.5,"));
  EXPECT_FALSE(HasCheckpoint(path));
}

TEST_F(FitCommandTest, KillingTheServerLosesNothingAndCountsOnce) {
  constexpr size_t kRows = 300'000;
  const std::string path = WriteRows("rows.csv", kRows);
  Out({"create", "x", "--features", "2"});
  Program program(With(
      {"fit", "x", path, "--batch", "16", "--checkpoint-interval", "0.02"}));
  ASSERT_TRUE(Eventually([&] { return RowsInCheckpoint(path) > 0; }));
  server_.Kill();
  server_.Restart();
  const Finished finished = program.Wait();
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_THAT(Moments("x"), HasSubstr("0,,300000,149999.5,"));
}

TEST_F(FitCommandTest, CtrlCSavesWhereItIsAndEndsWith130) {
  constexpr size_t kRows = 200'000;
  const std::string path = WriteRows("rows.csv", kRows);
  Out({"create", "x", "--features", "2"});
  const Arguments fit = {
      "fit", "x", path, "--batch", "16", "--checkpoint-interval", "0.02"};
  Program program(With(fit));
  ASSERT_TRUE(Eventually([&] { return RowsInCheckpoint(path) > 0; }));
  program.Signal(SIGINT);
  const Finished interrupted = program.Wait();
  ASSERT_EQ(interrupted.code, 130) << interrupted.err;
  EXPECT_THAT(interrupted.err, HasSubstr("the same command goes on from row"));
  EXPECT_THAT(Out({"get", "x", "-o", "ndjson"}),
              HasSubstr("\"row_count\":\"" +
                        std::to_string(RowsInCheckpoint(path)) + "\""));
  Out(fit);
  EXPECT_THAT(Moments("x"), HasSubstr("0,,200000,99999.5,"));
}

// A run that was stopped in the middle.
class StoppedFitTest : public FitCommandTest {
 protected:
  StoppedFitTest() {
    Out({"create", "x", "--features", "2"});
    Error({"fit", "x", path_, "--batch", "2"});
  }

  const std::string path_ = Write("rows.csv", "a,b\n1,2\n3,4\n5,6\n7,x\n");
};

TEST_F(StoppedFitTest, AChangedInputIsRefused) {
  Write("rows.csv", "a,b\n9,2\n3,4\n5,6\n");
  const std::string error = Error({"fit", "x", path_}, 6);
  EXPECT_THAT(error, HasSubstr("has 16 bytes, had 20 since 2 rows were "
                               "counted"));
  EXPECT_THAT(error, HasSubstr("'streamnorm reset x'"));
  Out({"reset", "x"});
  Out({"fit", "x", path_, "--restart"});
  EXPECT_THAT(Moments("x"), HasSubstr("0,,3,"));
}

TEST_F(StoppedFitTest, ANormalizerThatWasResetIsRefused) {
  Out({"reset", "x"});
  EXPECT_THAT(Error({"fit", "x", path_}, 6),
              HasSubstr("was reset, or deleted and made again, since 2 rows"));
  Out({"delete", "x"});
  EXPECT_THAT(Error({"fit", "x", path_, "--create"}, 6),
              HasSubstr("normalizers/x was deleted since 2 rows"));
}

TEST_F(StoppedFitTest, OtherOptionsFilesAndNormalizersAreRefused) {
  EXPECT_THAT(Error({"fit", "x", path_, "--columns", "1,2"}, 6),
              HasSubstr("want the same options"));
  EXPECT_THAT(Error({"fit", "x", path_, "--batch", "3"}, 6),
              HasSubstr("a run with 2, want the same"));
  EXPECT_THAT(Error({"fit", "x", path_, WriteRows("more.csv", 3)}, 6),
              HasSubstr("of other files"));
  Out({"create", "y", "--features", "2"});
  EXPECT_THAT(Error({"fit", "y", path_}, 6),
              HasSubstr("the checkpoint is of normalizers/x"));
  Write("rows.csv.streamnorm-fit", "{\"format\": 1}");
  EXPECT_THAT(Error({"fit", "x", path_}), HasSubstr("damaged, or not a "));
}

TEST_F(FitCommandTest, AFrozenNormalizerIsRefusedAndGoesOnOnceItIsNot) {
  const std::string path = WriteRows("rows.csv", 100);
  Out({"create", "x", "--features", "2"});
  Out({"freeze", "x"});
  EXPECT_THAT(Error({"fit", "x", path, "--batch", "8"}, 6),
              HasSubstr("'streamnorm unfreeze' lets it count again"));
  Out({"unfreeze", "x"});
  Out({"fit", "x", path});
  EXPECT_THAT(Moments("x"), HasSubstr("0,,100,49.5,"));
}

}  // namespace
}  // namespace streamnorm
