/* client/c/streamnorm.h is C, and a program in C links with the library. */

#include <stdio.h>
#include <string.h>

#include "client/c/streamnorm.h"

int main(void) {
  sn_error error;
  sn_options options;
  sn_client* client;
  memset(&options, 0, sizeof(options));
  options.request_timeout_ms = 50;
  if (sn_abi_version() != SN_ABI_VERSION) return 1;
  client = sn_connect("unix:/nobody/listens/here", &options, &error);
  if (client != NULL || error.code == SN_OK) return 1;
  printf("%d: %s\n", (int)error.code, error.message);
  sn_client_free(NULL);
  sn_session_free(NULL);
  return sn_session_close(NULL, NULL) == SN_INVALID_ARGUMENT ? 0 : 1;
}
