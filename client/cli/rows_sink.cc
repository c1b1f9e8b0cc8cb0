#include "client/cli/rows_sink.h"

#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/csv.h"
#include "client/cli/npy.h"
#include "client/cli/output_file.h"
#include "client/cli/table.h"

namespace streamnorm {
namespace {

// The shortest text for the type the value came in.
std::string ValueText(double value, DataType type) {
  if (std::isnan(value)) return "";
  return type == DataType::kFp64 ? ExactNumber(value)
                                 : ExactNumber(static_cast<float>(value));
}

class CsvSink : public RowsSink {
 public:
  CsvSink(std::unique_ptr<OutputFile> file, const RowsSinkOptions& options)
      : file_(std::move(file)),
        layout_(options.layout),
        delimiter_(options.delimiter) {}

  absl::Status WriteHeader() {
    if (layout_.header.empty()) return absl::OkStatus();
    return file_->Append(CsvLine(layout_.header, delimiter_));
  }

  absl::Status Write(const RowBatch& batch, absl::string_view values) override {
    std::vector<double> numbers(batch.rows * batch.features);
    TensorView view = batch.view();
    view.data = reinterpret_cast<const uint8_t*>(values.data());
    LoadAsDouble(view, 0, numbers.size(), numbers.data());
    std::vector<std::string> line(layout_.cells.size());
    for (size_t row = 0; row < batch.rows; ++row) {
      for (size_t k = 0; k < line.size(); ++k) {
        line[k] = Cell(batch, numbers, row, layout_.cells[k]);
      }
      if (auto s = file_->Append(CsvLine(line, delimiter_)); !s.ok()) return s;
    }
    // What is answered is seen, also at the end of a pipe.
    return file_->Flush();
  }

  absl::Status Finish() override { return file_->Flush(); }

 private:
  std::string Cell(const RowBatch& batch, const std::vector<double>& numbers,
                   size_t row, int64_t cell) const {
    if (cell >= 0) {
      const auto feature = static_cast<size_t>(cell);
      return ValueText(numbers[row * batch.features + feature], batch.type);
    }
    const auto other = static_cast<size_t>(-1 - cell);
    return batch.other_cells[row * layout_.other_cells() + other];
  }

  const std::unique_ptr<OutputFile> file_;
  const RowLayout layout_;
  const char delimiter_;
};

class NpySink : public RowsSink {
 public:
  NpySink(std::unique_ptr<OutputFile> file, const RowsSinkOptions& options)
      : file_(std::move(file)), layout_(options.layout), type_(options.type) {}

  // The number of rows is known, or is filled in at the end.
  absl::Status WriteHeader() {
    if (!layout_.rows && !file_->CanOverwrite()) {
      return absl::InvalidArgumentError(
          absl::StrCat(file_->name(),
                       ": no regular file, want one: the header of an NPY "
                       "file is completed at its end"));
    }
    return file_->Append(Header(layout_.rows.value_or(0)));
  }

  absl::Status Write(const RowBatch& batch, absl::string_view values) override {
    rows_ += batch.rows;
    return file_->Append(values);
  }

  absl::Status Finish() override {
    if (layout_.rows == rows_) return file_->Flush();
    if (!file_->CanOverwrite()) {
      const absl::Status flushed = file_->Flush();
      if (!flushed.ok()) return flushed;
      return absl::DataLossError(absl::StrCat(
          file_->name(), ": ends after ", rows_, " of ", *layout_.rows,
          " rows, which its header can't say any more"));
    }
    return file_->OverwriteBeginning(Header(rows_));
  }

 private:
  std::string Header(uint64_t rows) const {
    NpyHeader header;
    header.type = type_;
    header.shape = {rows, layout_.features};
    if (layout_.one_dimensional) header.shape = {rows * layout_.features};
    return NpyHeaderBytes(header);
  }

  const std::unique_ptr<OutputFile> file_;
  const RowLayout layout_;
  const DataType type_;
  uint64_t rows_ = 0;
};

template <typename Sink>
absl::StatusOr<std::unique_ptr<RowsSink>> Begin(std::unique_ptr<Sink> sink) {
  if (auto s = sink->WriteHeader(); !s.ok()) return s;
  return std::unique_ptr<RowsSink>(std::move(sink));
}

}  // namespace

absl::StatusOr<std::unique_ptr<RowsSink>> OpenSink(
    const RowsSinkOptions& options) {
  auto file = OutputFile::Open(options.path);
  if (!file.ok()) return file.status();
  if (absl::EndsWith(options.path, ".npy")) {
    return Begin(std::make_unique<NpySink>(*std::move(file), options));
  }
  return Begin(std::make_unique<CsvSink>(*std::move(file), options));
}

}  // namespace streamnorm
