// NIST's reference data through the real server: each set in batches of 1 to 64
// rows, each batch size into a normalizer of its own.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>
#include <string>
#include <vector>

#include "client/streamnorm_client.h"
#include "tests/stats/nist_data.h"
#include "tests/testing/server_under_test.h"
#include "tests/testing/temp_dir.h"

namespace streamnorm {
namespace {

class NistRpcTest : public testing::Test {
 protected:
  NistRpcTest()
      : server_({"--listen", "unix:" + (dir_ / "socket"), "--store=memory",
                 "--log_level=warning"}),
        client_(*Client::Connect(server_.address())),
        session_(*client_->OpenSession("nist")) {}

  v1::FeatureStatistics Send(const DataSet& set, size_t batch) {
    std::string id = set.name + "-" + std::to_string(batch);
    for (char& c : id) c = static_cast<char>(std::tolower(c));
    EXPECT_TRUE(client_->GetOrCreateNormalizer(id, 1).ok());
    const std::span<const double> values(set.values);
    for (size_t i = 0; i < values.size(); i += batch) {
      const auto rows = values.subspan(i, std::min(batch, values.size() - i));
      EXPECT_TRUE(session_
                      ->Submit(MakeNormalizeRequest(id, RowsOf(rows, 1),
                                                    v1::UPDATE_ONLY))
                      .ok());
      if (session_->in_flight() >= 32) Receive();
    }
    while (session_->in_flight() > 0) Receive();
    v1::GetStatisticsRequest request;
    request.set_name("normalizers/" + id);
    return client_->GetStatistics(request)->features(0);
  }

  void Receive() {
    const auto answer = session_->Receive();
    EXPECT_TRUE(answer.ok()) << answer.status();
  }

  void CheckEveryBatchSize(const DataSet& set) {
    constexpr double kSlack = 0.05;  // digits; one rounding of an LRE near 15
    const double ceiling = DeviationCeiling(set);
    double least_mean = 15, least_deviation = 15;
    for (size_t batch = 1; batch <= 64; ++batch) {
      const v1::FeatureStatistics got = Send(set, batch);
      EXPECT_EQ(got.count(), set.values.size());
      const double mean = Lre(got.mean(), set.mean);
      const double deviation =
          Lre(std::sqrt(got.sample_variance()), set.deviation);
      EXPECT_GE(mean, 15) << set.name << " in batches of " << batch;
      EXPECT_GE(deviation, ceiling - kSlack)
          << set.name << " in batches of " << batch;
      least_mean = std::min(least_mean, mean);
      least_deviation = std::min(least_deviation, deviation);
    }
    std::printf("%-9s %4zu values: mean %.2f, deviation %.2f of %.2f digits\n",
                set.name.c_str(), set.values.size(), least_mean,
                least_deviation, ceiling);
  }

  TempDir dir_;
  ServerUnderTest server_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<ClientSession> session_;
};

TEST_F(NistRpcTest, GeneratedSetsReachTheirCeilings) {
  for (const DataSet& set : {NumAcc1(), AlternatingNumAcc("NumAcc2", "1"),
                             AlternatingNumAcc("NumAcc3", "1000000"),
                             AlternatingNumAcc("NumAcc4", "10000000")}) {
    CheckEveryBatchSize(set);
  }
}

TEST_F(NistRpcTest, EveryFileReachesItsCeiling) {
  const NistFiles nist;
  if (!nist.available()) GTEST_SKIP() << nist.why_not();
  for (const auto& [name, unused] : nist.certified().items()) {
    CheckEveryBatchSize(nist.Load(name));
  }
}

}  // namespace
}  // namespace streamnorm
