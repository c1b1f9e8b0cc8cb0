// The real program against the real server: rows.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "client/cli/npy.h"
#include "stats/tensor_view.h"
#include "tests/cli/program.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;

using Arguments = std::vector<std::string>;

// Polls; false if it does not come true.
bool Eventually(const std::function<bool()>& condition) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

size_t LinesOf(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

class NormalizeCommandTest : public testing::Test {
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

  uint64_t RowCount(const std::string& id) {
    const std::string json = Out({"get", id, "-o", "ndjson"});
    const std::string key = "\"row_count\":\"";
    return std::stoull(json.substr(json.find(key) + key.size()));
  }

  // A file of rows 0, 1, 2, ... with their squares.
  std::string WriteRows(size_t rows) {
    const std::string path = dir_ / "rows.csv";
    std::ofstream file(path);
    file << "a,b\n";
    for (size_t i = 0; i < rows; ++i) file << i << "," << i * i << "\n";
    return path;
  }

  const TempDir dir_;
  ServerUnderTest server_{{"--listen", "unix:" + (dir_ / "socket"),
                           "--data_dir", dir_ / "data", "--log_level=error"}};
};

TEST_F(NormalizeCommandTest, RowsComeBackNormalizedAndCounted) {
  Out({"create", "x", "--features", "2"});
  const Finished finished = Run({"normalize", "x"}, "1,10\n3,30\n");
  EXPECT_EQ(finished.code, 0);
  EXPECT_EQ(finished.out, "-1,-1\n1,1\n");
  EXPECT_THAT(finished.err, HasSubstr("2 rows normalized, 2 counted"));
  EXPECT_EQ(RowCount("x"), 2U);
}

TEST_F(NormalizeCommandTest, CreateMakesTheNormalizerFromTheHeader) {
  Out({"normalize", "x", "--create", "--preset", "keras"}, "b,a\n1,2\n3,4\n");
  EXPECT_EQ(Out({"stats", "x", "-o", "name"}), "b\na\n");
  EXPECT_THAT(Out({"get", "x"}), HasSubstr("FLOOR_STD 1e-07"));
}

TEST_F(NormalizeCommandTest, ColumnsGoByNameAndOthersAreCopied) {
  Out({"create", "x", "--names", "a,b"});
  EXPECT_EQ(Out({"normalize", "x"}, "id,b,a\nr 1,10,1\n\"r,2\",30,3\n"),
            "id,b,a\nr 1,-1,-1\n\"r,2\",1,1\n");
  EXPECT_EQ(Out({"normalize", "x", "--mode", "only", "--only-features"},
                "id,b,a\nr,30,1\n"),
            "a,b\n-1,1\n");
  const Finished missing = Run({"normalize", "x"}, "id,b\nr,1\n");
  EXPECT_EQ(missing.code, 1);
  EXPECT_THAT(missing.err, HasSubstr("no column \"a\""));
}

TEST_F(NormalizeCommandTest, ModesCountBeforeAfterOrNot) {
  Out({"create", "x", "--features", "1"});
  EXPECT_EQ(Out({"normalize", "x", "--mode", "update"}, "1\n3\n"), "");
  EXPECT_EQ(Out({"normalize", "x", "--mode", "only"}, "5\n"), "3\n");
  EXPECT_EQ(RowCount("x"), 2U);
  EXPECT_EQ(Out({"normalize", "x", "--mode", "before"}, "5\n"), "3\n");
  EXPECT_EQ(RowCount("x"), 3U);
}

TEST_F(NormalizeCommandTest, AMissingValueStaysMissingAndIsSkipped) {
  Out({"create", "x", "--features", "2"});
  const Finished finished = Run({"normalize", "x"}, "1,NA\n3,5\n3,\n1,7\n");
  EXPECT_EQ(finished.out, "-1,\n1,-1\n1,\n-1,1\n");
  EXPECT_THAT(finished.err, HasSubstr("2 values skipped"));
}

TEST_F(NormalizeCommandTest, OfABatchWithAMalformedCellNothingIsSent) {
  Out({"create", "x", "--features", "1"});
  const Finished finished =
      Run({"normalize", "x", "--batch", "2"}, "1\n2\n3\nx\n5\n");
  EXPECT_EQ(finished.code, 1);
  EXPECT_THAT(finished.err, HasSubstr("stdin:4: column 1: \"x\""));
  EXPECT_THAT(finished.err, HasSubstr("2 counted"));
  EXPECT_EQ(LinesOf(finished.out), 2U);
  EXPECT_EQ(RowCount("x"), 2U);
}

TEST_F(NormalizeCommandTest, AValueThatIsRejectedIsToldByPlaceAndNotSent) {
  Out({"create", "x", "--features", "2", "--nan", "reject"});
  const Finished nan = Run({"normalize", "x"}, "1,2\n3,\n");
  EXPECT_EQ(nan.code, 1);
  EXPECT_THAT(nan.err, HasSubstr("stdin:2: column 2: a missing value"));
  const Finished infinite = Run({"normalize", "x"}, "1,2\ninf,3\n");
  EXPECT_EQ(infinite.code, 1);
  EXPECT_THAT(infinite.err, HasSubstr("stdin:2: column 1: an infinite value"));
  EXPECT_EQ(RowCount("x"), 0U);
}

TEST_F(NormalizeCommandTest, WhatTheServerRefusesIsToldByRows) {
  Out({"create", "x", "--features", "1", "--warm-up", "error", "--minimum-rows",
       "100"});
  const Finished finished = Run({"normalize", "x"}, "1\n2\n");
  EXPECT_EQ(finished.code, 6);
  EXPECT_THAT(finished.err, HasSubstr("stdin: rows 1 to 2: "));
  EXPECT_EQ(RowCount("x"), 0U);
}

TEST_F(NormalizeCommandTest, NpyGoesInAndComesOutInItsOwnType) {
  Out({"create", "x", "--features", "2"});
  const std::vector<double> rows = {1, 10, 3, 30};
  std::vector<uint8_t> values(rows.size() * sizeof(float));
  StoreFromDouble(rows.data(), rows.size(), DataType::kFp32, values.data());
  const std::string header = NpyHeaderBytes({DataType::kFp32, {2, 2}});
  std::ofstream(dir_ / "in.npy", std::ios::binary)
      << header << std::string(values.begin(), values.end());

  Out({"normalize", "x", dir_ / "in.npy", "-O", dir_ / "out.npy"});
  const std::string out = FileText(dir_ / "out.npy");
  ASSERT_EQ(out.size(), header.size() + values.size());
  EXPECT_EQ(out.substr(0, header.size()), header);
  std::vector<double> normalized(rows.size());
  LoadAsDouble({reinterpret_cast<const uint8_t*>(out.data()) + header.size(),
                DataType::kFp32, 2, 2},
               0, rows.size(), normalized.data());
  EXPECT_THAT(normalized, testing::ElementsAre(-1, -1, 1, 1));

  Out({"denormalize", "x", dir_ / "out.npy", "-O", dir_ / "back.npy"});
  EXPECT_EQ(FileText(dir_ / "back.npy"), FileText(dir_ / "in.npy"));
}

TEST_F(NormalizeCommandTest, DenormalizeIsTheInverse) {
  Out({"create", "x", "--names", "a,b"});
  Out({"normalize", "x", "--mode", "update"}, "a,b\n1,10\n3,30\n");
  const std::string input = "id,a,b\nx,5,-10\ny,1,\n";
  const std::string normalized =
      Out({"normalize", "x", "--mode", "only"}, input);
  EXPECT_EQ(Out({"denormalize", "x"}, normalized), input);
}

TEST_F(NormalizeCommandTest, TheInputIsNeverOverwritten) {
  Out({"create", "x", "--features", "2"});
  const std::string path = WriteRows(3);
  EXPECT_EQ(Run({"normalize", "x", path, "-O", path}).code, 2);
  EXPECT_EQ(LinesOf(FileText(path)), 4U);
}

TEST_F(NormalizeCommandTest, AFileThatCantBeReadEndsWith1) {
  Out({"create", "x", "--features", "2"});
  EXPECT_EQ(Run({"normalize", "x", dir_ / "none.csv"}).code, 1);
  EXPECT_EQ(Run({"normalize", "x", dir_.path()}).code, 1);
}

TEST_F(NormalizeCommandTest, InterruptedItEndsCleanlyAndSaysWhatWasCounted) {
  Out({"create", "x", "--features", "1"});
  constexpr size_t kRows = 100;
  constexpr size_t kInFlight = 32;  // answers the program doesn't wait for
  ProgramOptions options;
  options.keep_input_open = true;
  for (size_t i = 0; i < kRows; ++i) options.input += "1\n";
  Program program(With({"normalize", "x", "--batch", "1"}), options);
  ASSERT_TRUE(Eventually(
      [&] { return LinesOf(program.OutSoFar()) >= kRows - kInFlight; }));
  program.Signal(SIGINT);
  const Finished finished = program.Wait();
  EXPECT_EQ(finished.code, 130);
  EXPECT_THAT(finished.err,
              HasSubstr("interrupted after 100 rows normalized, 100 counted"));
  EXPECT_EQ(LinesOf(finished.out), kRows);
  EXPECT_EQ(RowCount("x"), kRows);
}

TEST_F(NormalizeCommandTest, KillingTheServerTwiceLosesNothingAndCountsOnce) {
  constexpr size_t kRows = 40'000;
  const std::string path = WriteRows(kRows);
  Out({"create", "x", "--features", "2"});
  Program program(With({"--timeout", "60", "normalize", "x", path, "-O",
                        dir_ / "out.csv", "--batch", "4"}));
  const auto written = [&] { return LinesOf(FileText(dir_ / "out.csv")); };
  for (const size_t enough : {kRows / 8, kRows / 2}) {
    ASSERT_TRUE(Eventually([&] { return written() > enough; }));
    ASSERT_FALSE(program.HasEnded());
    server_.Kill();
    server_.Restart();
  }
  const Finished finished = program.Wait();
  EXPECT_EQ(finished.code, 0) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("40,000 rows normalized, 40,000 counted "
                                      "(40,000 in normalizers/x now)"));
  EXPECT_THAT(finished.err, HasSubstr("reconnection"));
  EXPECT_EQ(written(), kRows + 1);
  EXPECT_EQ(RowCount("x"), kRows);
  // The mean of 0, 1, ..., n - 1.
  EXPECT_THAT(Out({"stats", "x", "--features", "0", "-o", "csv"}),
              HasSubstr("\n0,,40000,19999.5,"));
}

TEST_F(NormalizeCommandTest, AServerThatStaysAwayEndsWith4AndSaysWhatIsKnown) {
  const std::string path = WriteRows(40'000);
  Out({"create", "x", "--features", "2"});
  Program program(With({"--timeout", "1", "normalize", "x", path, "-O",
                        dir_ / "out.npy", "--batch", "4"}));
  const auto size = [&] { return FileText(dir_ / "out.npy").size(); };
  ASSERT_TRUE(Eventually([&] { return size() > 100'000; }));
  server_.Kill();
  const Finished finished = program.Wait();
  EXPECT_EQ(finished.code, 4) << finished.err;
  EXPECT_THAT(finished.err, HasSubstr("are counted and on its disk"));

  // The output is a whole file of the rows that were answered.
  BufferedInput input(*OpenFile(dir_ / "out.npy", -1));
  const auto header = ReadNpyHeader(&input);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(size(), input.taken() + header->shape[0] * 2 * sizeof(double));
}

}  // namespace
}  // namespace streamnorm
