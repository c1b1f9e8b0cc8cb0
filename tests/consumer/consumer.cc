// Counts two rows and prints how many there are: consumer ADDRESS

#include <iostream>
#include <vector>

#include "client/streamnorm_client.h"

int main(int, char** argv) {
  auto client = streamnorm::Client::Connect(argv[1]);
  if (!client.ok()) {
    std::cerr << client.status() << "\n";
    return 1;
  }
  auto normalizer = (*client)->GetOrCreateNormalizer("layer3", 3);
  auto session = (*client)->OpenSession("consumer");
  if (!normalizer.ok() || !session.ok()) return 1;
  const std::vector<float> rows = {1, 2, 3, 5, 6, 7};
  auto answer = (*session)->Normalize("layer3", streamnorm::RowsOf(rows, 3));
  if (!answer.ok()) {
    std::cerr << answer.status() << "\n";
    return 1;
  }
  std::cout << answer->row_count() << "\n";
}
