// What a client may do wrong, and that it costs no other its answer.

#include "server/http_endpoint.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"

namespace streamnorm {
namespace {

class HttpEndpointTest : public testing::Test {
 protected:
  UniqueFd Connect() {
    const std::string& address = endpoint_->address();
    int port = 0;
    EXPECT_TRUE(
        absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)),
              0);
    return fd;
  }

  static bool Say(const UniqueFd& fd, const std::string& text) {
    return send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(text.size());
  }

  static std::string Hear(const UniqueFd& fd) {
    std::string text;
    std::array<char, 4096> bytes;
    while (true) {
      const ssize_t got = recv(fd.get(), bytes.data(), bytes.size(), 0);
      if (got <= 0) return text;
      text.append(bytes.data(), static_cast<size_t>(got));
    }
  }

  std::string Exchange(const std::string& request) {
    const UniqueFd fd = Connect();
    EXPECT_TRUE(Say(fd, request));
    return Hear(fd);
  }

  std::unique_ptr<HttpEndpoint> endpoint_ =
      *HttpEndpoint::Start("127.0.0.1:0", [](const HttpRequest& request) {
        HttpResponse response;
        response.body = request.path + "|" + request.query;
        return response;
      });
};

constexpr char kGood[] = "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n";

TEST_F(HttpEndpointTest, GetIsAnswered) {
  const std::string answer = Exchange(kGood);
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 200 OK\r\n")) << answer;
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\n/a|b=c")) << answer;
}

TEST_F(HttpEndpointTest, HeadHasNoBodyButItsLength) {
  const std::string answer = Exchange("HEAD /ab HTTP/1.1\r\n\r\n");
  EXPECT_TRUE(absl::StrContains(answer, "Content-Length: 4\r\n")) << answer;
  EXPECT_TRUE(absl::EndsWith(answer, "\r\n\r\n")) << answer;
}

TEST_F(HttpEndpointTest, ARequestInPiecesIsAnswered) {
  const UniqueFd fd = Connect();
  for (const char c : std::string(kGood)) ASSERT_TRUE(Say(fd, {c}));
  EXPECT_TRUE(absl::StartsWith(Hear(fd), "HTTP/1.1 200 "));
}

TEST_F(HttpEndpointTest, EverythingElseIsRefused) {
  EXPECT_TRUE(absl::StartsWith(
      Exchange("POST /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"),
      "HTTP/1.1 405 "));
  EXPECT_TRUE(absl::StartsWith(Exchange("DELETE /a HTTP/1.1\r\n\r\n"),
                               "HTTP/1.1 405 "));
  EXPECT_TRUE(absl::StartsWith(Exchange("GET /a\r\n\r\n"), "HTTP/1.1 400 "));
  EXPECT_TRUE(absl::StartsWith(Exchange("\r\n\r\n"), "HTTP/1.1 400 "));
  EXPECT_TRUE(
      absl::StartsWith(Exchange("GET /a HTTP/2.0\r\n\r\n"), "HTTP/1.1 505 "));
}

TEST_F(HttpEndpointTest, AHugeHeaderIsRefusedBeforeItEnds) {
  const std::string answer =
      Exchange("GET /a HTTP/1.1\r\nX: " + std::string(100'000, 'x'));
  EXPECT_TRUE(absl::StartsWith(answer, "HTTP/1.1 431 ")) << answer;
}

TEST_F(HttpEndpointTest, ClientsThatNeverFinishKeepNobodyFromAnAnswer) {
  std::vector<UniqueFd> slow;
  for (int i = 0; i < 200; ++i) {  // more than may be connected
    slow.push_back(Connect());
    Say(slow.back(), "GET /a HTT");
  }
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(absl::StartsWith(Exchange(kGood), "HTTP/1.1 200 ")) << i;
  }
}

TEST_F(HttpEndpointTest, FiftyThatWaitAreAllAnswered) {
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 50; ++i) clients.push_back(Connect());
  for (const UniqueFd& client : clients) ASSERT_TRUE(Say(client, kGood));
  for (const UniqueFd& client : clients) {
    EXPECT_TRUE(absl::StartsWith(Hear(client), "HTTP/1.1 200 "));
  }
}

TEST_F(HttpEndpointTest, ALargeAnswerArrivesWhole) {
  const std::string large(3'000'000, 'z');
  endpoint_->SetHandler([&](const HttpRequest&) {
    HttpResponse response;
    response.body = large;
    return response;
  });
  EXPECT_TRUE(absl::EndsWith(Exchange(kGood), "\r\n\r\n" + large));
}

TEST_F(HttpEndpointTest, TheHandlerBeforeIsNotRunAnyMore) {
  for (int i = 0; i < 50; ++i) {
    const auto text = std::make_shared<std::string>(std::to_string(i));
    endpoint_->SetHandler([text](const HttpRequest&) {
      HttpResponse response;
      response.body = *text;
      return response;
    });
    std::thread other([&] { Exchange(kGood); });
    EXPECT_TRUE(absl::EndsWith(Exchange(kGood), "\r\n\r\n" + *text));
    other.join();
  }
}

TEST_F(HttpEndpointTest, APortInUseIsRefused) {
  EXPECT_FALSE(
      HttpEndpoint::Start(endpoint_->address(), [](const HttpRequest&) {
        return HttpResponse();
      }).ok());
}

}  // namespace
}  // namespace streamnorm
