/* Counts a row and prints its first normalized value: c_consumer ADDRESS */

#include <stdio.h>
#include <streamnorm.h>

int main(int argc, char** argv) {
  sn_error error;
  sn_client* client = sn_connect(argv[argc - 1], NULL, &error);
  sn_session* session =
      client ? sn_session_open(client, "consumer", &error) : NULL;
  double row[3] = {3, 4, 5}, z[3];
  if (session == NULL ||
      sn_normalize(session, "layer3", SN_UPDATE_THEN_NORMALIZE, SN_FP64, 1, 3,
                   row, z, NULL, &error) != SN_OK) {
    fprintf(stderr, "%s\n", error.message);
    return 1;
  }
  printf("%g\n", z[0]);
  return 0;
}
