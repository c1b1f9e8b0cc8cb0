// The C++ example of README.md, with the address as its argument.

#include <cstdio>
#include <string>
#include <vector>

#include "client/streamnorm_client.h"

namespace {

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

int Run(const std::string& address) {
  auto client = streamnorm::Client::Connect(address);
  if (!client.ok()) return Fail(client.status());
  auto normalizer = (*client)->GetOrCreateNormalizer("layer3", 32);
  if (!normalizer.ok()) return Fail(normalizer.status());
  auto session = (*client)->OpenSession("trainer-0");
  if (!session.ok()) return Fail(session.status());
  std::vector<float> rows(4 * 32, 1.5f);  // 4 rows of 32 features
  auto answer = (*session)->Normalize("layer3", streamnorm::RowsOf(rows, 32));
  if (!answer.ok()) return Fail(answer.status());
  auto* z = reinterpret_cast<const float*>(answer->output().data().data());
  std::printf("row 0 begins with %g, of %lu rows\n", double(z[0]),
              static_cast<unsigned long>(answer->row_count()));
  return (*session)->Close().ok() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return Run(argc > 1 ? argv[1] : ""); }
