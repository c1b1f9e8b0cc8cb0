#include "client/cli/normalizer_list.h"

#include <utility>

namespace streamnorm {
namespace {

// What the server gives at most.
constexpr int kPageSize = 1000;

}  // namespace

absl::StatusOr<std::vector<v1::Normalizer>> ListAll(Client* client) {
  std::vector<v1::Normalizer> all;
  v1::ListNormalizersRequest request;
  request.set_page_size(kPageSize);
  do {
    auto page = client->ListNormalizers(request);
    if (!page.ok()) return page.status();
    for (auto& normalizer : *page->mutable_normalizers()) {
      all.push_back(std::move(normalizer));
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty());
  return all;
}

}  // namespace streamnorm
