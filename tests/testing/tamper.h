#ifndef STREAMNORM_TESTS_TESTING_TAMPER_H_
#define STREAMNORM_TESTS_TESTING_TAMPER_H_

#include <functional>
#include <string>

namespace streamnorm {

// Changes the value under `key` of the RocksDB database at `path`, which nobody
// has open: behind the back of the store. An absent value is empty.
void Tamper(const std::string& path, const std::string& key,
            const std::function<void(std::string*)>& change);

// Flips the last bit of that value.
void FlipBitUnder(const std::string& path, const std::string& key);

}  // namespace streamnorm

#endif  // STREAMNORM_TESTS_TESTING_TAMPER_H_
