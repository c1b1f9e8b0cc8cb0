// The real program against the real server: commands on normalizers.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/cli/program.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

using Arguments = std::vector<std::string>;

class CommandTest : public testing::Test {
 protected:
  Finished Run(Arguments arguments, const std::string& input = "") {
    arguments.insert(arguments.begin(), {"--server", server_.address()});
    ProgramOptions options;
    options.input = input;
    return RunStreamnorm(std::move(arguments), options);
  }

  // Runs what has to succeed.
  std::string Out(const Arguments& arguments, const std::string& input = "") {
    const Finished finished = Run(arguments, input);
    EXPECT_EQ(finished.code, 0) << finished.err;
    return finished.out;
  }

  const TempDir dir_;
  ServerUnderTest server_{{"--listen", "unix:" + (dir_ / "socket"),
                           "--store=memory", "--log_level=error"}};
};

// Options and usage.

TEST(UsageTest, HelpIsOnStdoutAndNamesTheCommands) {
  const Finished help = RunStreamnorm({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_THAT(help.out, HasSubstr("denormalize"));
  EXPECT_EQ(help.err, "");
}

TEST(UsageTest, EveryCommandHasHelpThatFitsATerminal) {
  for (const char* command :
       {"create", "get", "list", "stats", "top", "normalize", "denormalize",
        "reset", "freeze", "unfreeze", "delete", "snapshot", "health", "info",
        "backup", "verify", "demo", "completion", "version"}) {
    const Finished help = RunStreamnorm({command, "--help"});
    EXPECT_EQ(help.code, 0) << command;
    std::istringstream lines(help.out);
    for (std::string line; std::getline(lines, line);) {
      EXPECT_LE(line.size(), 80U) << line;
    }
  }
}

TEST(UsageTest, AMistypedCommandIsAnsweredWithTheNearest) {
  const Finished finished = RunStreamnorm({"stast", "x"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_EQ(finished.out, "");
  EXPECT_EQ(finished.err,
            "streamnorm: no command 'stast'; did you mean 'stats'?\n");
}

TEST(UsageTest, AMistypedOptionIsAnsweredWithTheNearest) {
  const Finished finished = RunStreamnorm({"stats", "x", "--srot=mean"});
  EXPECT_EQ(finished.code, 2);
  EXPECT_EQ(
      finished.err,
      "streamnorm: 'stats' has no option '--srot'; did you mean '--sort'?\n");
}

TEST(UsageTest, WrongCommandLinesEndWith2AndOneLine) {
  for (const Arguments& arguments : std::vector<Arguments>{
           {},
           {"stats"},
           {"list", "x"},
           {"stats", "x", "--top", "0"},
           {"stats", "x", "--sort", "color"},
           {"stats", "x", "--watch", "0"},
           {"stats", "x", "--plot", "-o", "csv"},
           {"top", "--interval", "never"},
           {"top", "-o", "json"},
           {"list", "-o", "yaml"},
           {"get", "x", "-o", "csv"},
           {"create", "x"},
           {"create", "x", "--features", "3", "--names", "a"},
           {"create", "x", "--features", "many"},
           {"create", "x", "--features", "2", "--label", "k"},
           {"create", "x", "--features", "2", "--prior-mean", "0"},
           {"normalize", "x", "-o", "json"},
           {"normalize", "x", "--preset", "keras"},
           {"normalize", "x", "--delimiter", "ab"},
           {"--timeout", "-1", "health"},
           {"--config", "/no/such/file", "health"}}) {
    const Finished finished = RunStreamnorm(arguments);
    EXPECT_EQ(finished.code, 2) << finished.err;
    EXPECT_EQ(finished.out, "");
    EXPECT_THAT(finished.err, StartsWith("streamnorm: "));
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1)
        << finished.err;
  }
}

TEST(UsageTest, WithoutAServerTheCodeIs4) {
  const Finished finished = RunStreamnorm(
      {"--server", "unix:/no/such/socket", "--timeout", "0.2", "health"});
  EXPECT_EQ(finished.code, 4);
  EXPECT_THAT(finished.err, HasSubstr("unix:/no/such/socket"));
}

TEST(UsageTest, VersionNeedsNoServer) {
  EXPECT_THAT(RunStreamnorm({"version"}).out, StartsWith("streamnorm "));
}

TEST(UsageTest, TheCompletionScriptIsValidBashAndHasEveryCommand) {
  const TempDir dir;
  const Finished script = RunStreamnorm({"completion", "bash"});
  EXPECT_EQ(script.code, 0);
  EXPECT_THAT(script.out, HasSubstr("create stats top get list"));
  std::ofstream(dir / "script") << script.out;
  EXPECT_EQ(std::system(("bash -n " + (dir / "script")).c_str()), 0);
}

TEST_F(CommandTest, TheServerIsTakenFromOptionEnvironmentAndConfigInThisOrder) {
  const std::string config = dir_ / "streamnorm.ini";
  std::ofstream(config) << "server = " << server_.address() << "\n";
  ProgramOptions options;
  options.environment = {"XDG_CONFIG_HOME=" + dir_.path()};
  EXPECT_EQ(RunStreamnorm({"health"}, options).code, 0);

  options.environment.push_back("STREAMNORM_SERVER=unix:/no/such/socket");
  const Arguments health = {"--timeout", "0.2", "health"};
  EXPECT_EQ(RunStreamnorm(health, options).code, 4);

  options.environment.back() = "STREAMNORM_SERVER=" + server_.address();
  std::ofstream(config) << "server = unix:/no/such/socket\n";
  EXPECT_EQ(RunStreamnorm({"health"}, options).code, 0);

  options.environment.back() = "STREAMNORM_SERVER=unix:/no/such/socket";
  EXPECT_EQ(
      RunStreamnorm({"health", "--server", server_.address()}, options).code,
      0);
}

// Server.

TEST_F(CommandTest, HealthIsServing) {
  EXPECT_EQ(Out({"health"}), "SERVING\n");
  EXPECT_EQ(Out({"health", "-o", "json"}), "{\"status\":\"SERVING\"}\n");
}

TEST_F(CommandTest, InfoShowsStoreAndLimits) {
  EXPECT_THAT(Out({"info"}), HasSubstr("--max_message_bytes"));
  EXPECT_THAT(Out({"info", "-o", "json"}), HasSubstr("\"store\": \"memory\""));
}

// Normalizers.

TEST_F(CommandTest, WhatIsCreatedIsShownWithEverythingThatWasSet) {
  const Finished created = Run({"create",      "x",
                                "--names",     "a,b",
                                "--preset",    "batchnorm",
                                "--clip",      "5",
                                "--no-center", "--nan",
                                "reject",      "--infinity",
                                "skip",        "--minimum-rows",
                                "7",           "--warm-up",
                                "prior",       "--prior-mean",
                                "-1,2.5",      "--prior-variance",
                                "4",           "--prior-rows",
                                "10",          "--label",
                                "team=red",    "--label",
                                "k=v=w"});
  ASSERT_EQ(created.code, 0) << created.err;
  EXPECT_EQ(created.out, "");
  EXPECT_EQ(created.err, "created normalizers/x (2 features)\n");
  const std::string json = Out({"get", "x", "-o", "ndjson"});
  for (const char* part :
       {"\"feature_names\":[\"a\",\"b\"]", "\"epsilon_mode\":\"INSIDE_SQRT\"",
        "\"epsilon\":1e-05", "\"clip\":5", "\"center\":false",
        "\"nan\":\"REJECT\"", "\"infinity\":\"SKIP\"", "\"answer\":\"PRIOR\"",
        "\"minimum_rows\":\"7\"", "\"mean\":[-1,2.5]", "\"variance\":[4]",
        "\"pseudo_rows\":10", "\"team\":\"red\"", "\"k\":\"v=w\""}) {
    EXPECT_THAT(json, HasSubstr(part));
  }
}

TEST_F(CommandTest, NamesComeFromTheHeaderOfAFile) {
  std::ofstream(dir_ / "f.csv") << "one,\"two, too\"\n1,2\n";
  Out({"create", "x", "--names-from", dir_ / "f.csv"});
  EXPECT_EQ(Out({"stats", "x", "-o", "name"}), "one\ntwo, too\n");
}

TEST_F(CommandTest, CreatingWhatExistsIsAConflictUnlessItIsWanted) {
  Out({"create", "x", "--features", "2"});
  EXPECT_EQ(Run({"create", "x", "--features", "2"}).code, 6);
  EXPECT_EQ(Run({"create", "x", "--features", "2", "--if-not-exists"}).code, 0);
  EXPECT_EQ(Run({"create", "x", "--features", "3", "--if-not-exists"}).code, 6);
}

TEST_F(CommandTest, ValidateOnlyMakesNothing) {
  Out({"create", "x", "--features", "2", "--validate-only"});
  EXPECT_EQ(Run({"get", "x"}).code, 3);
}

TEST_F(CommandTest, AnIdThatCantBeIsAUsageError) {
  EXPECT_EQ(Run({"create", "UPPER", "--features", "2"}).code, 2);
}

TEST_F(CommandTest, WhatIsNotThereIsNotFoundWithOneLineOfAdvice) {
  for (const char* command : {"get", "stats", "reset", "freeze", "unfreeze",
                              "delete", "normalize", "denormalize"}) {
    const Finished finished = Run({command, "none"});
    EXPECT_EQ(finished.code, 3) << command << finished.err;
    EXPECT_EQ(finished.out, "") << command;
    EXPECT_THAT(finished.err, HasSubstr("'streamnorm list'")) << command;
    EXPECT_EQ(std::count(finished.err.begin(), finished.err.end(), '\n'), 1);
  }
}

TEST_F(CommandTest, ListHasAllPagesInEveryFormat) {
  EXPECT_EQ(Out({"list"}), "");
  Out({"create", "b", "--features", "2"});
  Out({"create", "a", "--features", "1"});
  EXPECT_EQ(Out({"list", "-o", "name"}), "a\nb\n");
  EXPECT_THAT(Out({"list"}), StartsWith("ID  FEATURES  ROWS"));
  EXPECT_THAT(Out({"list", "-o", "wide"}), HasSubstr("LABELS"));
  EXPECT_THAT(Out({"list", "-o", "csv"}), HasSubstr("\na,1,0,0,standard,"));
  EXPECT_THAT(Out({"list", "-o", "json"}), HasSubstr("\"normalizers\": ["));
  const std::string ndjson = Out({"list", "-o", "ndjson"});
  EXPECT_EQ(std::count(ndjson.begin(), ndjson.end(), '\n'), 2);
}

TEST_F(CommandTest, OutputThatIsNoTerminalHasNoEscapes) {
  Out({"create", "x", "--features", "2"});
  for (const Arguments& arguments :
       std::vector<Arguments>{{"list"}, {"get", "x"}, {"stats", "x"}}) {
    EXPECT_THAT(Out(arguments), Not(HasSubstr("\x1b")));
  }
}

TEST_F(CommandTest, AWindowAndTheMeanOnlyAreCreatedAndShown) {
  Out({"create", "x", "--features", "2", "--window-rows", "100"});
  EXPECT_THAT(Out({"get", "x"}), HasSubstr("100 rows"));
  EXPECT_THAT(Out({"get", "x", "-o", "ndjson"}),
              HasSubstr("\"window_rows\":100"));
  Out({"create", "y", "--features", "2", "--half-life-rows", "7", "--moments",
       "mean"});
  EXPECT_THAT(Out({"get", "y"}), HasSubstr("half-life of 7 rows"));
  EXPECT_THAT(Out({"get", "y", "-o", "ndjson"}),
              HasSubstr("\"moments\":\"MEAN\""));
  EXPECT_EQ(Run({"create", "z", "--features", "2", "--window-rows", "1"}).code,
            2);
  EXPECT_EQ(Run({"create", "z", "--features", "2", "--window-rows", "9",
                 "--half-life-rows", "9"})
                .code,
            2);
}

TEST_F(CommandTest, SnapshotsAreCreatedListedAndDeleted) {
  Out({"create", "x", "--features", "1"});
  Out({"normalize", "x", "--mode", "update"}, "1\n2\n");
  Out({"snapshot", "create", "x", "a", "b"});
  EXPECT_EQ(Out({"snapshot", "list", "x", "-o", "name"}), "a\nb\n");
  EXPECT_THAT(Out({"snapshot", "list", "x"}), StartsWith("NAME  ROWS"));
  EXPECT_THAT(Out({"snapshot", "list", "x", "-o", "json"}),
              HasSubstr("\"row_count\": \"2\""));
  EXPECT_EQ(Run({"snapshot", "create", "x", "a"}).code, 6);
  Out({"normalize", "x", "--mode", "update"}, "100\n");
  EXPECT_THAT(Out({"stats", "x/snapshots/a", "-o", "csv"}),
              HasSubstr("\n0,,2,1.5,0.25,"));
  EXPECT_EQ(Out({"normalize", "x/snapshots/a", "--mode", "only"}, "1\n2\n"),
            "-1\n1\n");
  EXPECT_EQ(Out({"denormalize", "x/snapshots/a"}, "-1\n1\n"), "1\n2\n");
  EXPECT_EQ(Run({"normalize", "x/snapshots/a"}, "1\n2\n").code, 1);
  Out({"snapshot", "delete", "x", "a"});
  EXPECT_EQ(Run({"snapshot", "delete", "x", "a"}).code, 3);
  EXPECT_EQ(Out({"snapshot", "list", "x", "-o", "name"}), "b\n");
  EXPECT_EQ(Run({"snapshot", "create", "x"}).code, 2);
  EXPECT_EQ(Run({"snapshot", "list", "none"}).code, 3);
}

TEST_F(CommandTest, AFrozenNormalizerCountsNothingUntilItIsUnfrozen) {
  Out({"create", "x", "--features", "1"});
  Out({"freeze", "x"});
  const Finished frozen = Run({"normalize", "x"}, "1\n2\n");
  EXPECT_EQ(frozen.code, 0);
  EXPECT_THAT(frozen.err, HasSubstr("it is frozen"));
  EXPECT_EQ(Run({"normalize", "x", "--mode", "update"}, "1\n2\n").code, 6);
  EXPECT_THAT(Out({"get", "x", "-o", "ndjson"}),
              HasSubstr("\"row_count\":\"0\""));
  Out({"unfreeze", "x"});
  Out({"normalize", "x", "--mode", "update"}, "1\n2\n");
  EXPECT_THAT(Out({"get", "x", "-o", "ndjson"}),
              HasSubstr("\"row_count\":\"2\""));
}

TEST_F(CommandTest, ResetForgetsTheRows) {
  Out({"create", "x", "--features", "1"});
  Out({"normalize", "x"}, "1\n2\n");
  Out({"reset", "x"});
  EXPECT_THAT(Out({"get", "x", "-o", "ndjson"}),
              HasSubstr("\"row_count\":\"0\""));
}

TEST_F(CommandTest, AStaleEtagIsAConflict) {
  Out({"create", "x", "--features", "1"});
  EXPECT_EQ(Run({"delete", "x", "--etag", "stale"}).code, 6);
  EXPECT_EQ(Run({"get", "x"}).code, 0);
}

TEST_F(CommandTest, DeleteTakesSeveralAndGoesOnAfterOneThatIsMissing) {
  Out({"create", "a", "--features", "1"});
  Out({"create", "b", "--features", "1"});
  EXPECT_EQ(Run({"delete", "a", "none", "normalizers/b"}).code, 3);
  EXPECT_EQ(Out({"list"}), "");
  EXPECT_EQ(Run({"delete", "none", "--if-exists"}).code, 0);
}

// Statistics.

class StatsTest : public CommandTest {
 protected:
  void SetUp() override {
    Out({"create", "x", "--names", "a,b,c"});
    Out({"normalize", "x"}, "a,b,c\n1,10,\n3,30,\n");
  }
};

TEST_F(StatsTest, TheTableIsForPeople) {
  const Finished finished = Run({"stats", "x"});
  EXPECT_EQ(finished.out,
            "INDEX  NAME  COUNT  MEAN  SD  MIN  MAX  MISSING  STATE\n"
            "    0  a         2     2   1    1    3        0  OK\n"
            "    1  b         2    20  10   10   30        0  OK\n"
            "    2  c         0     -   -    -    -        2  WARMING\n");
  EXPECT_EQ(finished.err, "normalizers/x: 2 rows, revision 1\n");
}

TEST_F(StatsTest, FeaturesAreChosenSortedAndCut) {
  EXPECT_EQ(Out({"stats", "x", "--features", "1-2", "-o", "name"}), "b\nc\n");
  EXPECT_EQ(Out({"stats", "x", "--names", "[ac]", "-o", "name"}), "a\nc\n");
  EXPECT_EQ(Out({"stats", "x", "--sort", "sd", "--top", "1", "-o", "name"}),
            "b\n");
  EXPECT_EQ(Run({"stats", "x", "--names", "z"}).code, 3);
  EXPECT_EQ(Run({"stats", "x", "--features", "3"}).code, 2);
}

TEST_F(StatsTest, CsvAndJsonHaveEveryField) {
  EXPECT_THAT(Out({"stats", "x", "-o", "csv"}),
              HasSubstr("\n1,b,2,20,100,200,10,20,0.1,10,30,0,0,OK\n"));
  const std::string json = Out({"stats", "x", "-o", "json"});
  EXPECT_THAT(json, StartsWith("{\"name\":\"normalizers/x\",\"revision\":\"1\""
                               ",\"row_count\":\"2\""));
  EXPECT_THAT(json, HasSubstr("\"sample_variance\":200"));
  EXPECT_THAT(Out({"stats", "x", "-o", "wide"}), HasSubstr("SCALE"));
}

TEST_F(StatsTest, PlotDrawsEachFeature) {
  const std::string plot = Out({"stats", "x", "--plot"});
  EXPECT_THAT(plot, HasSubstr("\na  |-*--| "));
  EXPECT_THAT(plot, HasSubstr("--*--"));
  EXPECT_THAT(plot, HasSubstr("|  20 +- 10\nc   "));
}

TEST_F(StatsTest, WatchGoesOnUntilCtrlC) {
  Program watch({"--server", server_.address(), "stats", "x", "--watch=0.1",
                 "-o", "name"});
  while (watch.OutSoFar().size() < 2 * sizeof("a\nb\nc\n")) {
    ASSERT_FALSE(watch.HasEnded());
  }
  EXPECT_THAT(watch.OutSoFar(), StartsWith("a\nb\nc\n\na\nb\nc\n"));
  watch.Signal(SIGINT);
  EXPECT_EQ(watch.Wait().code, 130);
}

TEST_F(CommandTest, TopShowsWhoCountsRows) {
  Out({"create", "busy", "--features", "1"});
  Out({"create", "idle", "--features", "1"});
  Program top(
      {"--server", server_.address(), "top", "--times=2", "--interval=1"});
  while (top.OutSoFar().find("idle") == std::string::npos) {
    ASSERT_FALSE(top.HasEnded());
  }
  Out({"normalize", "busy"}, "1\n2\n3\n");
  const Finished finished = top.Wait();
  EXPECT_EQ(finished.code, 0) << finished.err;
  const std::string second = finished.out.substr(finished.out.rfind("ROWS/S"));
  EXPECT_LT(second.find("busy"), second.find("idle"));
  EXPECT_THAT(finished.out, HasSubstr("2 normalizers, 0 rows/s"));
  EXPECT_THAT(second, HasSubstr("0     0         1         0\n"));
}

TEST(SmallMessageTest, StatisticsBeyondAMessageAreReadInParts) {
  const TempDir dir;
  const ServerUnderTest server({"--listen", "unix:" + (dir / "socket"),
                                "--store=memory", "--log_level=error",
                                "--max_message_bytes=4096"});
  const auto run = [&](Arguments arguments) {
    arguments.insert(arguments.begin(), {"--server", server.address()});
    return RunStreamnorm(std::move(arguments));
  };
  ASSERT_EQ(run({"create", "x", "--features", "400"}).code, 0);
  const Finished stats = run({"stats", "x", "-o", "name"});
  EXPECT_EQ(stats.code, 0) << stats.err;
  EXPECT_EQ(std::count(stats.out.begin(), stats.out.end(), '\n'), 400);
}

}  // namespace
}  // namespace streamnorm
