/* StreamNorm from C, and from everything that can load a C library: running
 * mean and variance per feature, kept by a server, each row counted exactly
 * once. Over the lane where the server is on this machine, else over gRPC.
 *
 *   sn_error error;
 *   sn_client* client = sn_connect("localhost:50051", NULL, &error);
 *   sn_get_or_create_normalizer(client, "layer3", 32, "standard", &error);
 *   sn_session* session = sn_session_open(client, "trainer-0", &error);
 *   float rows[4 * 32], z[4 * 32];
 *   sn_normalize(session, "layer3", SN_UPDATE_THEN_NORMALIZE, SN_FP32, 4, 32,
 *                rows, z, NULL, &error);
 *
 * Functions answer SN_OK or an error's code, those that make something NULL on
 * an error; `error` says more and may be NULL. An error means that nothing was
 * counted, but for SN_DEADLINE_EXCEEDED: then the update is kept and delivered
 * by a later call, and is not to be sent again.
 *
 * A client may be used by many threads at a time, a session by one. Neither
 * survives fork() in the child: connect there anew. Memory given to a call is
 * not kept after it. Arrays are row-major, numbers in the machine's (little)
 * endianness.
 */
#ifndef STREAMNORM_CLIENT_C_STREAMNORM_H_
#define STREAMNORM_CLIENT_C_STREAMNORM_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SN_API __attribute__((visibility("default")))

/* Of this header; sn_abi_version() answers that of the library. */
#define SN_ABI_VERSION 1
SN_API int32_t sn_abi_version(void);

typedef struct sn_client sn_client;
typedef struct sn_session sn_session;

/* The codes of gRPC; docs/api.md lists what comes when. */
enum {
  SN_OK = 0,
  SN_CANCELLED = 1,
  SN_UNKNOWN = 2,
  SN_INVALID_ARGUMENT = 3,
  SN_DEADLINE_EXCEEDED = 4,
  SN_NOT_FOUND = 5,
  SN_ALREADY_EXISTS = 6,
  SN_PERMISSION_DENIED = 7,
  SN_RESOURCE_EXHAUSTED = 8,
  SN_FAILED_PRECONDITION = 9,
  SN_ABORTED = 10,
  SN_OUT_OF_RANGE = 11,
  SN_UNIMPLEMENTED = 12,
  SN_INTERNAL = 13,
  SN_UNAVAILABLE = 14,
  SN_DATA_LOSS = 15,
  SN_UNAUTHENTICATED = 16
};

/* Set by every call that takes one. Texts end with a zero and may be cut. */
typedef struct sn_error {
  int32_t code;
  char reason[64];    /* NORMALIZER_NOT_FOUND, ... (docs/api.md); or "" */
  char message[1024]; /* path, got, want, what to do */
} sn_error;

enum { SN_FP32 = 1, SN_FP64 = 2, SN_FP16 = 3, SN_BF16 = 4 };

enum {
  SN_UPDATE_THEN_NORMALIZE = 1, /* the answer includes these rows */
  SN_NORMALIZE_THEN_UPDATE = 2, /* the past only */
  SN_NORMALIZE_ONLY = 3,        /* never writes */
  SN_UPDATE_ONLY = 4            /* no output */
};

/* Zeros stand for the defaults. */
typedef struct sn_options {
  int64_t request_timeout_ms;    /* 30,000: how long a call tries; reconnects
                                    while a server restarts */
  uint64_t max_buffered_updates; /* 1,024: kept until they are on disk */
  uint64_t max_buffered_bytes;   /* 64 MiB; full = the next call waits */
  uint64_t max_in_flight;        /* 64 requests on the wire */
  int32_t no_lane;               /* 1 = always gRPC */
  int32_t reserved[7];           /* zeros */
} sn_options;

/* What the answer to an update says, besides values. */
typedef struct sn_answer {
  uint64_t revision;         /* one per update of the normalizer */
  uint64_t row_count;        /* of the normalizer, after this update */
  uint64_t counted_rows;     /* by this update: 0 for a duplicate */
  uint64_t durable_sequence; /* updates of this session up to it are on disk */
  uint64_t nonfinite_values; /* skipped NaN and infinities */
  uint64_t clipped_values;
  uint8_t duplicate;
  uint8_t warming_up; /* too few rows yet: centred on the batch, or as set */
  uint8_t frozen;
  uint8_t over_lane; /* 0: over gRPC */
  uint8_t reserved[4];
} sn_answer;

/* `address`: host:port or unix:/path. `options` may be NULL. */
SN_API sn_client* sn_connect(const char* address, const sn_options* options,
                             sn_error* error);
SN_API void sn_client_free(sn_client* client);

/* FAILED_PRECONDITION if it exists with another number of features. `preset`:
 * standard (also if NULL), batchnorm, vecnormalize, rsl_rl, keras, lerobot,
 * minmax, maxabs. */
SN_API int32_t sn_get_or_create_normalizer(sn_client* client, const char* id,
                                           int64_t features, const char* preset,
                                           sn_error* error);
SN_API int32_t sn_delete_normalizer(sn_client* client, const char* id,
                                    sn_error* error);

/* Forgets every row. */
SN_API int32_t sn_reset_statistics(sn_client* client, const char* id,
                                   sn_error* error);

/* Normalizes [rows, features] without counting them. */
SN_API int32_t sn_normalize_only(sn_client* client, const char* id,
                                 int32_t dtype, uint64_t rows,
                                 uint64_t features, const void* input,
                                 void* output, sn_answer* answer,
                                 sn_error* error);

/* double[features] each, population variance, z = (x - offset) * scale; any may
 * be NULL, and so may row_count. */
SN_API int32_t sn_get_statistics(sn_client* client, const char* id,
                                 uint64_t features, double* mean,
                                 double* variance, double* offset,
                                 double* scale, uint64_t* row_count,
                                 sn_error* error);

/* A series of updates that each count once. `name` tells people whose. */
SN_API sn_session* sn_session_open(sn_client* client, const char* name,
                                   sn_error* error);

/* Goes on where sn_barrier was; the job sends the steps since then again. */
SN_API sn_session* sn_session_resume(sn_client* client, const void* token,
                                     size_t token_bytes, sn_error* error);

/* Does not wait: what is not on disk yet can still be resumed. */
SN_API void sn_session_free(sn_session* session);

/* Counts [rows, features] in normalizer `id` and writes them normalized to
 * `output`, which has the size of the input and may be the input (NULL with
 * SN_UPDATE_ONLY). `answer` may be NULL. */
SN_API int32_t sn_normalize(sn_session* session, const char* id, int32_t mode,
                            int32_t dtype, uint64_t rows, uint64_t features,
                            const void* input, void* output, sn_answer* answer,
                            sn_error* error);

/* The same in two halves, to keep many on the wire: answers come in the order
 * of submission. sn_receive: FAILED_PRECONDITION if none is due;
 * INVALID_ARGUMENT if the output is not of `output_bytes`, and is lost. */
SN_API int32_t sn_submit(sn_session* session, const char* id, int32_t mode,
                         int32_t dtype, uint64_t rows, uint64_t features,
                         const void* input, sn_error* error);
SN_API int32_t sn_receive(sn_session* session, void* output,
                          size_t output_bytes, sn_answer* answer,
                          sn_error* error);
SN_API uint64_t sn_in_flight(const sn_session* session);

/* Rows that the caller reduced itself (on its GPU, say). */
typedef struct sn_moments {
  const char* normalizer; /* id */
  uint64_t count;         /* rows, >= 1 */
  uint64_t features;
  const double* mean;             /* [features] */
  const double* m2;               /* [features]: sum of squared deviations */
  const uint64_t* feature_counts; /* [features] or NULL: all of the rows */
  const double* minimum;          /* [features] or NULL */
  const double* maximum;          /* [features] or NULL */
  int32_t before;   /* 1 = statistics as they were before this merge */
  int32_t reserved; /* 0 */

  /* Out: [features] each, or NULL; population variance. */
  double* out_mean;
  double* out_variance;
  double* out_offset; /* z = (x - offset) * scale */
  double* out_scale;
  sn_answer answer;
  sn_error error; /* of this entry: it was not counted, the others were */
} sn_moments;

/* Merges all of them in one round trip, in order; each counts once by itself.
 * Answers SN_OK if the exchange took place: then each entry has its own
 * `error`. Not to be mixed with requests in flight. */
SN_API int32_t sn_exchange_moments(sn_session* session, sn_moments* moments,
                                   size_t count, sn_error* error);

/* Waits until all that was answered is on disk, and writes a token for the
 * job's own checkpoint to `token`, which has room for `*token_bytes`; sets
 * `*token_bytes` to its size. OUT_OF_RANGE if there is too little room: ask
 * again with as much. */
SN_API int32_t sn_barrier(sn_session* session, void* token, size_t* token_bytes,
                          sn_error* error);

/* A barrier, then the session's end on the server. To be freed all the same. */
SN_API int32_t sn_session_close(sn_session* session, sn_error* error);

#ifdef __cplusplus
}
#endif

#endif /* STREAMNORM_CLIENT_C_STREAMNORM_H_ */
