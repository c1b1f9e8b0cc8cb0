#include "server/errors.h"

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "storage/records.h"

namespace streamnorm {
namespace {

constexpr char kTypePrefix[] = "type.googleapis.com/";

struct ReasonEntry {
  Reason reason;
  const char* name;
  absl::StatusCode code;
};

using absl::StatusCode;
constexpr ReasonEntry kReasons[] = {
    {Reason::kInvalidArgument, "INVALID_ARGUMENT",
     StatusCode::kInvalidArgument},
    {Reason::kNormalizerNotFound, "NORMALIZER_NOT_FOUND",
     StatusCode::kNotFound},
    {Reason::kNormalizerExists, "NORMALIZER_EXISTS",
     StatusCode::kAlreadyExists},
    {Reason::kNormalizerQuarantined, "NORMALIZER_QUARANTINED",
     StatusCode::kDataLoss},
    {Reason::kNormalizerFrozen, "NORMALIZER_FROZEN",
     StatusCode::kFailedPrecondition},
    {Reason::kSnapshotNotFound, "SNAPSHOT_NOT_FOUND", StatusCode::kNotFound},
    {Reason::kSnapshotExists, "SNAPSHOT_EXISTS", StatusCode::kAlreadyExists},
    {Reason::kSnapshotDamaged, "SNAPSHOT_DAMAGED", StatusCode::kDataLoss},
    {Reason::kStaleEtag, "STALE_ETAG", StatusCode::kAborted},
    {Reason::kSchemaMismatch, "SCHEMA_MISMATCH",
     StatusCode::kFailedPrecondition},
    {Reason::kNotWarmedUp, "NOT_WARMED_UP", StatusCode::kFailedPrecondition},
    {Reason::kRevisionNotKept, "REVISION_NOT_KEPT",
     StatusCode::kFailedPrecondition},
    {Reason::kSessionUnknown, "SESSION_UNKNOWN",
     StatusCode::kFailedPrecondition},
    {Reason::kEpochFenced, "EPOCH_FENCED", StatusCode::kAborted},
    {Reason::kSequenceConflict, "SEQUENCE_CONFLICT", StatusCode::kAborted},
    {Reason::kSequenceOutOfWindow, "SEQUENCE_OUT_OF_WINDOW",
     StatusCode::kAborted},
    {Reason::kGenerationUnknown, "GENERATION_UNKNOWN",
     StatusCode::kFailedPrecondition},
    {Reason::kHistoryLost, "HISTORY_LOST", StatusCode::kDataLoss},
    {Reason::kRowsMismatch, "ROWS_MISMATCH", StatusCode::kDataLoss},
    {Reason::kLimitExceeded, "LIMIT_EXCEEDED", StatusCode::kResourceExhausted},
    {Reason::kDiskFull, "DISK_FULL", StatusCode::kUnavailable},
    {Reason::kStoreFailed, "STORE_FAILED", StatusCode::kUnavailable},
    {Reason::kShuttingDown, "SHUTTING_DOWN", StatusCode::kUnavailable},
    {Reason::kBackupsDisabled, "BACKUPS_DISABLED",
     StatusCode::kFailedPrecondition},
    {Reason::kBackupExists, "BACKUP_EXISTS", StatusCode::kAlreadyExists},
    {Reason::kBackupNoSpace, "BACKUP_NO_SPACE", StatusCode::kResourceExhausted},
    {Reason::kStoreDamaged, "STORE_DAMAGED", StatusCode::kDataLoss},
    {Reason::kStoreNotOnDisk, "STORE_NOT_ON_DISK",
     StatusCode::kFailedPrecondition},
    {Reason::kMaintenanceRunning, "MAINTENANCE_RUNNING", StatusCode::kAborted},
    {Reason::kMaintenanceFailed, "MAINTENANCE_FAILED", StatusCode::kInternal},
};

const ReasonEntry& Entry(Reason reason) {
  return kReasons[static_cast<size_t>(reason)];
}

template <typename Detail>
void AddDetail(const Detail& detail, absl::Status* status) {
  status->SetPayload(absl::StrCat(kTypePrefix, Detail().GetTypeName()),
                     absl::Cord(detail.SerializeAsString()));
}

}  // namespace

const char* ReasonName(Reason reason) { return Entry(reason).name; }

absl::Status MakeError(Reason reason, absl::string_view message) {
  absl::Status status(Entry(reason).code, message);
  google::rpc::ErrorInfo info;
  info.set_reason(ReasonName(reason));
  info.set_domain("streamnorm");
  AddDetail(info, &status);
  return status;
}

absl::Status InvalidField(absl::string_view field, absl::string_view got,
                          absl::string_view want) {
  const std::string message = absl::StrCat(field, ": ", got, ", want ", want);
  absl::Status status = MakeError(Reason::kInvalidArgument, message);
  google::rpc::BadRequest bad_request;
  auto* violation = bad_request.add_field_violations();
  violation->set_field(std::string(field));
  violation->set_description(message);
  AddDetail(bad_request, &status);
  return status;
}

absl::Status Within(absl::string_view path, const absl::Status& status) {
  const std::string type =
      absl::StrCat(kTypePrefix, google::rpc::BadRequest().GetTypeName());
  google::rpc::BadRequest bad_request;
  const auto detail = status.GetPayload(type);
  if (detail) bad_request.ParseFromString(std::string(*detail));
  // Only the messages of bad fields begin with a path for certain.
  const char* const joint = detail ? "." : ": ";
  absl::Status within(status.code(),
                      absl::StrCat(path, joint, status.message()));
  status.ForEachPayload(
      [&](absl::string_view type_url, const absl::Cord& payload) {
        within.SetPayload(type_url, payload);
      });
  for (auto& violation : *bad_request.mutable_field_violations()) {
    violation.set_field(absl::StrCat(path, ".", violation.field()));
    violation.set_description(absl::StrCat(path, ".", violation.description()));
  }
  if (detail) AddDetail(bad_request, &within);
  return within;
}

absl::Status LimitExceeded(absl::string_view what, absl::string_view got,
                           absl::string_view want, absl::string_view flag) {
  return MakeError(
      Reason::kLimitExceeded,
      absl::StrCat(what, ": ", got, ", want ", want, " (the server's flag ",
                   flag, " sets this limit)"));
}

std::string NormalizerName(absl::string_view id) {
  return absl::StrCat("normalizers/", id);
}

std::string SnapshotName(absl::string_view id, absl::string_view snapshot) {
  return absl::StrCat(NormalizerName(id), "/snapshots/", snapshot);
}

absl::Status UnknownSnapshot(absl::string_view id, absl::string_view snapshot) {
  return MakeError(Reason::kSnapshotNotFound,
                   absl::StrCat(SnapshotName(id, snapshot), ": not found"));
}

absl::Status UnknownNormalizer(absl::string_view id) {
  return MakeError(Reason::kNormalizerNotFound,
                   absl::StrCat(NormalizerName(id),
                                ": no such normalizer; create it with "
                                "CreateNormalizer"));
}

absl::Status QuarantinedError(absl::string_view id, absl::string_view reason) {
  return MakeError(Reason::kNormalizerQuarantined,
                   absl::StrCat(NormalizerName(id), ": not served, ", reason,
                                "; restore a backup, or delete it and start "
                                "again"));
}

absl::Status FrozenError(absl::string_view id) {
  return MakeError(Reason::kNormalizerFrozen,
                   absl::StrCat(NormalizerName(id),
                                ": frozen, no update counts until "
                                "UnfreezeNormalizer"));
}

absl::Status NotWarmedUp(uint64_t rows, uint64_t minimum_rows,
                         absl::string_view id) {
  return MakeError(
      Reason::kNotWarmedUp,
      absl::StrCat("row_count: ", rows, ", want >= ", minimum_rows,
                   " (warm_up.minimum_rows of ", NormalizerName(id),
                   "); count rows with mode UPDATE_ONLY first"));
}

absl::Status EpochFenced(uint64_t got, uint64_t want) {
  return MakeError(
      Reason::kEpochFenced,
      absl::StrCat("update_id.epoch: ", got, ", want ", want,
                   " (another client took this session over; if that was not "
                   "intended, stop one of the two)"));
}

absl::Status SequenceConflict(uint64_t sequence) {
  return MakeError(
      Reason::kSequenceConflict,
      absl::StrCat("update_id.sequence: ", sequence,
                   " was counted with another payload, or skipped by a "
                   "Barrier; every new update needs a sequence number of its "
                   "own"));
}

absl::Status SequenceOutOfWindow(uint64_t sequence, uint64_t applied_sequence) {
  return MakeError(
      Reason::kSequenceOutOfWindow,
      absl::StrCat("update_id.sequence: ", sequence, ", want at most ",
                   applied_sequence + kSequenceWindow, " (",
                   applied_sequence + 1,
                   " is not counted yet; send it again first)"));
}

absl::Status RowsMismatch(absl::string_view field, uint64_t got, uint64_t want,
                          absl::string_view id) {
  return MakeError(
      Reason::kRowsMismatch,
      absl::StrCat(field, ": ", got, ", want ", want, ", the rows that ",
                   NormalizerName(id),
                   " has of this session; rows were lost or counted twice, or "
                   "the client miscounted: don't go on with these statistics "
                   "before it is known which"));
}

absl::Status CheckValues(const ValueProblem& problem, const TensorView& input,
                         absl::string_view id) {
  const auto at = [&](absl::string_view got, absl::string_view want) {
    return InvalidField(
        absl::StrCat("input[", problem.row, "][", problem.feature, "]"), got,
        absl::StrCat(want, " ", NormalizerName(id)));
  };
  switch (problem.kind) {
    case ValueProblem::kNone:
      return absl::OkStatus();
    case ValueProblem::kNan:
      return at("NaN", "a number (nonfinite.nan is REJECT) in");
    case ValueProblem::kInfinite:
      return at("infinity", "a finite value (nonfinite.infinity is REJECT) in");
    case ValueProblem::kOverflow:
      return StateOverflow(problem.feature, id);
    case ValueProblem::kOutputOverflow:
      return OutputOverflow(problem.feature, input.type, id);
  }
  return absl::InternalError("unknown value problem");
}

absl::Status OutputOverflow(size_t feature, DataType type,
                            absl::string_view id) {
  return InvalidField(
      absl::StrCat("input[*][", feature, "]"),
      absl::StrCat("a normalized value beyond ", DataTypeName(type)),
      absl::StrCat("one within +-", LargestFinite(type), " (",
                   NormalizerName(id),
                   "; send a wider datatype or set scaling.clip)"));
}

absl::Status StateOverflow(size_t feature, absl::string_view id) {
  return InvalidField(absl::StrCat("input[*][", feature, "]"),
                      "a sum of squared deviations beyond double",
                      absl::StrCat("values whose squares a double can hold (",
                                   NormalizerName(id), ")"));
}

absl::Status CheckExtremesGiven(const ReducedMoments& moments,
                                const ScalingRule& rule, absl::string_view id) {
  if (rule.method == ScalingMethod::kStandard || moments.minimum != nullptr) {
    return absl::OkStatus();
  }
  for (size_t j = 0; j < moments.features; ++j) {
    if (moments.count(j) == 0) continue;
    return InvalidField("minimum", "absent",
                        absl::StrCat("minimum and maximum, which the scaling "
                                     "method of ",
                                     NormalizerName(id), " is made of"));
  }
  return absl::OkStatus();
}

absl::Status CheckRowCount(absl::string_view field, uint64_t before,
                           uint64_t added, absl::string_view id) {
  constexpr uint64_t kMostRows = uint64_t{1} << 53;
  if (before <= kMostRows && added <= kMostRows - before) {
    return absl::OkStatus();
  }
  return InvalidField(
      field, absl::StrCat(added),
      absl::StrCat("at most ", kMostRows - before, ", so that ",
                   NormalizerName(id), " stays within 2^53 rows"));
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kShown = 200;
  const bool cut = text.size() > kShown;
  return absl::StrCat("\"", absl::CHexEscape(text.substr(0, kShown)),
                      cut ? "...\"" : "\"");
}

}  // namespace streamnorm
