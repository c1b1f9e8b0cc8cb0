// Linked into the program that has our own kill points: hands each to the
// preloaded library, which may not be there.

#include "storage/kill_point.h"

#include <dlfcn.h>

namespace streamnorm {

void PassKillPoint(const char* name) {
  using Pass = void (*)(const char*);
  static const auto pass =
      reinterpret_cast<Pass>(dlsym(RTLD_DEFAULT, "StreamnormPassKillPoint"));
  if (pass != nullptr) pass(name);
}

}  // namespace streamnorm
