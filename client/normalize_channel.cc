#include "client/normalize_channel.h"

#include "client/connection.h"
#include "grpcpp/support/time.h"

namespace streamnorm {
namespace {

// Completion queue tags.
enum Tag : intptr_t { kStart = 1, kRead, kWrite, kFinish };

void* AsPointer(Tag tag) { return reinterpret_cast<void*>(tag); }

gpr_timespec ToGrpcTime(std::chrono::steady_clock::time_point time) {
  if (time == NormalizeChannel::kNoWait) {
    return gpr_inf_past(GPR_CLOCK_REALTIME);
  }
  gpr_timespec result;
  grpc::Timepoint2Timespec(ToSystemTime(time), &result);
  return result;
}

}  // namespace

NormalizeChannel::NormalizeChannel(v1::NormalizerService::Stub* stub)
    : stream_(stub->PrepareAsyncNormalizeStream(&context_, &queue_)) {
  stream_->StartCall(AsPointer(kStart));
}

NormalizeChannel::~NormalizeChannel() {
  context_.TryCancel();
  Drain();
  queue_.Shutdown();
  void* tag;
  bool ok;
  while (queue_.Next(&tag, &ok)) {
  }
}

void NormalizeChannel::Write(v1::NormalizeRequest* request) {
  writing_ = true;
  stream_->Write(*request, AsPointer(kWrite));
}

void NormalizeChannel::StartRead() {
  reading_ = true;
  answer_taken_ = false;
  stream_->Read(&answer_, AsPointer(kRead));
}

NormalizeChannel::Event NormalizeChannel::Wait(
    std::chrono::steady_clock::time_point deadline) {
  if (broken_) return Event::kBroken;
  if (answer_taken_) StartRead();
  void* tag = nullptr;
  bool ok = false;
  switch (queue_.AsyncNext(&tag, &ok, ToGrpcTime(deadline))) {
    case grpc::CompletionQueue::TIMEOUT:
      return Event::kTimeout;
    case grpc::CompletionQueue::SHUTDOWN:
      broken_ = true;
      return Event::kBroken;
    case grpc::CompletionQueue::GOT_EVENT:
      break;
  }
  if (tag == AsPointer(kWrite)) writing_ = false;
  if (tag == AsPointer(kRead)) reading_ = false;
  if (!ok) {
    broken_ = true;
    return Event::kBroken;
  }
  if (tag == AsPointer(kRead)) {
    answer_taken_ = true;  // by the time of the next Wait
    return Event::kAnswer;
  }
  if (tag == AsPointer(kStart)) {
    started_ = true;
    StartRead();
  }
  return Event::kProgress;
}

absl::Status NormalizeChannel::status() {
  context_.TryCancel();  // has no effect on a call that ended by itself
  Drain();
  if (status_.ok()) {
    return absl::UnavailableError("the server ended the stream");
  }
  return FromGrpc(status_);
}

// Collects what is under way, then the status of the call.
void NormalizeChannel::Drain() {
  if (finished_) return;
  broken_ = true;
  stream_->Finish(&status_, AsPointer(kFinish));
  void* tag;
  bool ok;
  while (!finished_ && queue_.Next(&tag, &ok)) {
    if (tag == AsPointer(kFinish)) finished_ = true;
  }
}

}  // namespace streamnorm
