"""Checks who includes whom; docs/ARCHITECTURE.md says why.

  check_includes.py FILE...      names each include that is not allowed
  check_includes.py --self-test
"""

import re
import sys

STD = r"<[a-z0-9_]+>|<(sys/|linux/|net(inet)?/|arpa/)?(?!xxhash)[a-z0-9_]+\.h>"
PROTO = r"streamnorm/v1/|google/(protobuf|rpc)/"
GRPC = r"grpc(pp)?/"
TOOLS = r"CLI/|spdlog/|fmt/|nlohmann/|openssl/"

# The first path that matches decides; nothing but tests includes tests.
RULES = [(re.compile(path), re.compile("|".join(allowed)))
         for path, *allowed in [
    (r"stats/(kernels\.cc|kernel_\w+-inl\.h)$", STD, r"stats/|hwy/"),
    (r"stats/", r"<[a-z0-9_]+>", r"stats/"),
    (r"lane/", STD, r"lane/|absl/", PROTO),
    (r"storage/.*\.cc$", STD, r"storage/|stats/|absl/|rocksdb/|xxhash\.h"),
    (r"storage/", STD, r"storage/|stats/|absl/"),
    (r"server/main\.cc$", STD, r"server/|lane/|storage/|stats/|absl/", PROTO, GRPC,
     TOOLS),
    (r"server/metrics_page\.cc$", STD, r"server/|storage/statistics_store",
     r"prometheus/"),
    (r"server/.*\.cc$", STD,
     r"server/|lane/|storage/(?!rocksdb_)|stats/|absl/|xxhash\.h",
     PROTO, GRPC, TOOLS),
    (r"server/", STD, r"server/|lane/|storage/(?!rocksdb_)|stats/|absl/",
     PROTO, GRPC, TOOLS),
    (r"client/", STD, r"client/|lane/|stats/|absl/", PROTO, GRPC, TOOLS),
    (r"tests/", r""),
]]


def problems(path, text):
    rule = next((rule for where, rule in RULES if where.match(path)), None)
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*(<(.*?)>|"(.*?)")', line)
        if match and not (rule and any(
                rule.match(form) for form in match.groups() if form)):
            yield f"{path}:{number}: {match[1]}: not for {path.split('/')[0]}/"


def self_test():
    for path, include, allowed in [
            ("stats/moments.cc", "<vector>", True),
            ("stats/moments.cc", '"stats/moments.h"', True),
            ("stats/moments.cc", '"hwy/highway.h"', False),
            ("stats/moments.cc", '"absl/status/status.h"', False),
            ("stats/kernels.cc", "<hwy/highway.h>", True),
            ("stats/kernel_vectors-inl.h", '"hwy/highway.h"', True),
            ("stats/kernels.h", '"hwy/highway.h"', False),
            ("storage/rocksdb_store.cc", '"rocksdb/db.h"', True),
            ("storage/rocksdb_store.h", '"rocksdb/db.h"', False),
            ("storage/record_codec.cc", "<xxhash.h>", True),
            ("storage/records.h", '"streamnorm/v1/tensor.pb.h"', False),
            ("storage/records.cc", "<grpcpp/grpcpp.h>", False),
            ("server/wire.cc", "<xxhash.h>", True),
            ("server/wire.h", "<xxhash.h>", False),
            ("server/metrics_page.cc", '"prometheus/text_serializer.h"', True),
            ("server/metrics.cc", '"prometheus/counter.h"', False),
            ("client/session.cc", "<xxhash.h>", False),
            ("storage/floor_file.cc", "<sys/stat.h>", True),
            ("storage/floor_file.cc", '"server/registry.h"', False),
            ("lane/frame.h", '"server/handler.h"', False),
            ("server/lane_server.cc", '"lane/frame.h"', True),
            ("server/main.cc", '"storage/rocksdb_store.h"', True),
            ("server/registry.cc", '"storage/rocksdb_store.h"', False),
            ("server/registry.cc", '"storage/statistics_store.h"', True),
            ("server/wire.cc", '"streamnorm/v1/tensor.pb.h"', True),
            ("server/wire.cc", '"google/rpc/status.pb.h"', True),
            ("server/wire.cc", '"rocksdb/db.h"', False),
            ("server/wire.cc", '"client/session.h"', False),
            ("client/session.cc", '"stats/moments.h"', True),
            ("client/session.cc", '"storage/records.h"', False),
            ("client/session.cc", '"tests/testing/temp_dir.h"', False),
            ("tests/server/wire_test.cc", '"server/wire.h"', True),
            ("elsewhere/a.cc", "<vector>", False)]:
        found = list(problems(path, f"#include {include}  // why\n"))
        assert bool(found) != allowed, (path, include, found)


if sys.argv[1:] == ["--self-test"]:
    self_test()
else:
    found = [problem for path in sys.argv[1:]
             for problem in problems(path, open(path).read())]
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))
