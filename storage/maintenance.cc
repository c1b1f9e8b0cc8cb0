#include "storage/maintenance.h"

#include <utility>

namespace streamnorm {

void VerifyReport::Add(DamagedRecord record) {
  ++damaged_count;
  if (damaged.size() < kMaxListed) damaged.push_back(std::move(record));
}

}  // namespace streamnorm
