// normalize, denormalize.

#include <signal.h>
#include <sys/stat.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/exit_code.h"
#include "client/cli/normalize_rows.h"
#include "client/cli/npy.h"
#include "client/cli/progress.h"
#include "client/cli/rows_input.h"
#include "client/cli/stop_signal.h"

namespace streamnorm {
namespace {

struct Flags {
  std::string id;
  std::string file = "-";
  std::string out;
  RowsInputFlags input;
  bool only_features = false;
  std::string mode = "after";
  std::string dtype;
  size_t batch_rows = 0;  // 0 = chosen
  bool create = false;
  std::string preset;
};

constexpr char kRowsHelp[] =
    "FILE is CSV or NPY; without it, or with '-', rows are read from stdin.\n"
    "\n"
    "CSV: the first line is taken for a header if it has something that is no\n"
    "number. If the normalizer has feature names and the file a header, "
    "columns\n"
    "are found by name, in whatever order; otherwise all columns are "
    "features,\n"
    "in order, or those of --columns. The output has all columns of the "
    "input,\n"
    "in its order: features are replaced, others (ids, labels) are copied;\n"
    "--only-features leaves those out. Empty cells, NA, N/A, NaN and null are\n"
    "missing values and come out empty.\n"
    "\n"
    "NPY: versions 1 to 3, float16, float32, float64, little-endian, C order,\n"
    "(rows, features); one dimension is one row.\n"
    "\n"
    "Rows are streamed, so a file may be larger than the memory.";

constexpr char kModesHelp[] =
    "\n"
    "--mode says when rows are counted:\n"
    "  after   a batch is counted, then normalized with everything so far\n"
    "  before  a batch is normalized with what came before it, then counted\n"
    "  only    nothing is counted\n"
    "  update  rows are counted, and there is no output\n"
    "So with `after` early rows see fewer rows than late ones. To normalize a\n"
    "whole file with the statistics of the whole file: --mode update first,\n"
    "then --mode only.\n"
    "\n"
    "Every row counts exactly once, also if the server dies and comes back\n"
    "within --timeout; at the end everything is on its disk. Run again, the\n"
    "command counts the rows again.";

v1::Mode ModeOf(const std::string& text) {
  if (text == "before") return v1::NORMALIZE_THEN_UPDATE;
  if (text == "only") return v1::NORMALIZE_ONLY;
  if (text == "update") return v1::UPDATE_ONLY;
  return v1::UPDATE_THEN_NORMALIZE;
}

// Writing into the file that is being read would destroy it.
absl::Status CheckNotSameFile(const Flags& flags) {
  struct stat in {};
  struct stat out {};
  const bool same = !flags.out.empty() && flags.out != "-" &&
                    stat(flags.file.c_str(), &in) == 0 &&
                    stat(flags.out.c_str(), &out) == 0 && S_ISREG(in.st_mode) &&
                    in.st_dev == out.st_dev && in.st_ino == out.st_ino;
  if (!same) return absl::OkStatus();
  return UsageError(
      absl::StrCat("--out: ", flags.out, " is the input, want another file"));
}

absl::Status CheckFlags(const Globals& globals, const Flags& flags) {
  if (!globals.output.empty()) {
    return UsageError(
        "--output: set, want --out FILE: what comes out here are the rows");
  }
  if (flags.mode == "update" && !flags.out.empty()) {
    return UsageError("--out: set, want no output with --mode update");
  }
  if (!flags.preset.empty() && !flags.create) {
    return UsageError("--preset: set, want --create with it");
  }
  return CheckNotSameFile(flags);
}

// The rows, with the normalizer's features found in them; sets job->normalizer.
absl::StatusOr<std::unique_ptr<RowsSource>> OpenSource(
    Client* client, const Flags& flags, const RowsSourceOptions& options,
    std::unique_ptr<ByteSource> bytes, RowsJob* job) {
  auto normalizer = GetReadable(client, flags.id);
  const bool create = absl::IsNotFound(normalizer.status()) && flags.create;
  if (!normalizer.ok() && !create) return normalizer.status();
  auto source = OpenRows(std::move(bytes), options);
  if (!source.ok()) return source.status();
  if (create) {
    normalizer =
        CreateNormalizerFor(client, IdOf(flags.id), flags.preset, **source);
  }
  if (!normalizer.ok()) return normalizer.status();
  if (auto s = BindTo(*normalizer, source->get()); !s.ok()) return s;
  job->normalizer = *std::move(normalizer);
  return source;
}

char OutputDelimiter(const Flags& flags, char input_delimiter) {
  if (absl::EndsWith(flags.out, ".tsv")) return '\t';
  const bool comma =
      flags.input.delimiter.empty() && absl::EndsWith(flags.out, ".csv");
  return comma ? ',' : input_delimiter;
}

absl::StatusOr<std::unique_ptr<RowsSink>> MakeSink(const Flags& flags,
                                                   const RowsJob& job,
                                                   char input_delimiter) {
  RowsSinkOptions options;
  options.path = flags.out;
  options.type = job.type;
  options.delimiter = OutputDelimiter(flags, input_delimiter);
  options.layout = job.source->layout();
  if (flags.only_features) {
    options.layout =
        PlainLayout(job.source->features(), job.source->feature_names());
  }
  return OpenSink(options);
}

// "569 rows normalized, 569 counted (1,138 in normalizers/x now), ...".
std::string NormalizeSummary(const RowsJob& job, const RowTotals& totals) {
  const bool counting = job.mode != v1::NORMALIZE_ONLY;
  std::string text = Counted(totals.answered, "row");
  const auto add = [&](const auto&... parts) {
    absl::StrAppend(&text, parts...);
  };
  if (job.sink != nullptr) add(" normalized");
  if (counting) add(", ", Grouped(totals.counted), " counted");
  if (counting && totals.answered > 0) {
    add(" (", Grouped(totals.row_count), " in ", job.normalizer.name(),
        " now)");
  }
  add(", ", Counted(totals.skipped_values, "value"), " skipped, ",
      Grouped(totals.clipped_values), " clipped");
  if (totals.warming_up > 0 && job.sink != nullptr) {
    add(", ", Counted(totals.warming_up, "row"), " answered while warming up");
  }
  if (totals.frozen) add(", not counted: it is frozen");
  if (totals.reconnects > 0) {
    add(", ", Counted(totals.reconnects, "reconnection"), " with ",
        Counted(totals.updates_sent_again, "lost update"), " sent again");
  }
  return text;
}

std::string DenormalizeSummary(const RowTotals& totals) {
  std::string text =
      absl::StrCat(Counted(totals.answered, "row"), " denormalized");
  if (totals.clipped_values > 0) {
    absl::StrAppend(&text, ", ", Counted(totals.clipped_values, "value"),
                    " at the clip limit, where what they were can't be told");
  }
  return text;
}

// Without a session, other clients' rows may move the statistics between two
// batches of one file.
std::string MovedNote(const RowTotals& totals) {
  if (totals.first_revision == totals.last_revision) return "";
  return absl::StrCat("; the statistics moved meanwhile, from revision ",
                      totals.first_revision, " to ", totals.last_revision);
}

std::string Summary(const RowsJob& job, const RowTotals& totals,
                    bool normalizing) {
  if (!normalizing) return DenormalizeSummary(totals) + MovedNote(totals);
  const bool counting = job.mode != v1::NORMALIZE_ONLY;
  return NormalizeSummary(job, totals) + (counting ? "" : MovedNote(totals));
}

// Runs the job with progress and Ctrl-C; what the program ends with.
absl::StatusOr<int> RunJob(RowsJob* job, const StopSignal& stop,
                           bool normalizing) {
  Progress progress;
  RowTotals totals;
  job->stop = [&] { return stop.requested(); };
  job->on_progress = [&](const RowTotals& so_far) {
    const BufferedInput& input = job->source->input();
    progress.Show(so_far.answered, input.taken(), input.size());
  };
  const absl::Status status = normalizing ? NormalizeRows(*job, &totals)
                                          : DenormalizeRows(*job, &totals);
  progress.Erase();
  const bool interrupted = absl::IsCancelled(status) && stop.requested();
  Say(absl::StrCat("streamnorm: ", interrupted ? "interrupted after " : "",
                   Summary(*job, totals, normalizing)));
  if (interrupted) return 128 + stop.signal_number();
  if (!status.ok()) return status;
  return kExitOk;
}

// Everything of the job but source and sink.
absl::Status Prepare(Client* client, const Flags& flags,
                     const RowsSource& source, RowsJob* job) {
  job->id = IdOf(flags.id);
  job->mode = ModeOf(flags.mode);
  job->type = ParseNumpyName(flags.dtype).value_or(source.type());
  const auto max_message_bytes = MaxMessageBytes(client);
  if (!max_message_bytes.ok()) return max_message_bytes.status();
  const auto batch_rows = ChooseBatchRows(
      flags.batch_rows, source.layout().features * ElementSize(job->type),
      *max_message_bytes);
  if (!batch_rows.ok()) return batch_rows.status();
  job->batch_rows = *batch_rows;
  return absl::OkStatus();
}

absl::StatusOr<int> Process(const Globals& globals, const Flags& flags,
                            bool normalizing) {
  if (auto s = CheckFlags(globals, flags); !s.ok()) return s;
  signal(SIGPIPE, SIG_IGN);  // a reader that left is an error like any other
  const StopSignal stop(
      "stopping when what was sent is answered; Ctrl-C again stops at once");
  const auto options = RowsSourceOptionsOf(flags.input, flags.file);
  if (!options.ok()) return options.status();
  auto bytes = OpenFile(flags.file, stop.fd());
  if (!bytes.ok()) return bytes.status();
  const auto client = Connect(globals);
  if (!client.ok()) return client.status();
  RowsJob job;
  const auto source =
      OpenSource(client->get(), flags, *options, *std::move(bytes), &job);
  if (!source.ok()) return source.status();
  job.source = source->get();
  if (auto s = Prepare(client->get(), flags, **source, &job); !s.ok()) return s;
  const auto patient = ConnectPatiently(globals);
  if (!patient.ok()) return patient.status();
  job.client = patient->get();
  if (normalizing && job.mode == v1::UPDATE_ONLY) {
    return RunJob(&job, stop, normalizing);
  }
  const auto sink = MakeSink(flags, job, options->delimiter);
  if (!sink.ok()) return sink.status();
  job.sink = sink->get();
  return RunJob(&job, stop, normalizing);
}

void AddRowOptions(CLI::App* command, Flags* flags) {
  command->add_option("ID", flags->id, "Which normalizer")
      ->option_text(" ")
      ->required();
  command->add_option("FILE", flags->file, "CSV or NPY; '-' = stdin")
      ->option_text(" ");
  command
      ->add_option("-O,--out", flags->out,
                   "Where rows go: NPY if it ends in .npy, else CSV "
                   "(default: stdout as CSV)")
      ->option_text("FILE");
  AddRowsInputOptions(command, &flags->input);
  command->add_flag("--only-features", flags->only_features,
                    "Write the features only, in their order");
  command
      ->add_option("--dtype", flags->dtype,
                   "Type of the values on the wire and in the output: float16, "
                   "float32 or float64 (default: as in the NPY; CSV float64)")
      ->option_text("TYPE")
      ->check([](const std::string& text) {
        return ParseNumpyName(text)
                   ? ""
                   : "'" + text + "', want float16, float32 or float64";
      });
  command
      ->add_option("--batch", flags->batch_rows,
                   "Rows per request (default 256, fewer if they are large)")
      ->option_text("N")
      ->check(MoreThanZero);
}

}  // namespace

void AddNormalizeCommands(CommandLine* line) {
  const auto flags = std::make_shared<Flags>();
  CLI::App* normalize =
      line->Add("normalize", "Counts rows and writes them normalized",
                kRowsGroup, [flags](const Globals& globals) {
                  return Process(globals, *flags, /*normalizing=*/true);
                });
  AddRowOptions(normalize, flags.get());
  normalize
      ->add_option("--mode", flags->mode,
                   "after (default), before, only or update; see below")
      ->option_text("MODE")
      ->check(CLI::IsMember({"after", "before", "only", "update"}));
  normalize->add_flag("--create", flags->create,
                      "Make the normalizer from the file's columns if there "
                      "is none");
  normalize->add_option("--preset", flags->preset, "With --create: its rule")
      ->option_text("NAME");
  normalize->footer(absl::StrCat(kRowsHelp, "\n", kModesHelp));

  CLI::App* denormalize = line->Add(
      "denormalize", "The inverse: normalized rows back to what they were",
      kRowsGroup, [flags](const Globals& globals) {
        return Process(globals, *flags, /*normalizing=*/false);
      });
  AddRowOptions(denormalize, flags.get());
  denormalize->footer(absl::StrCat(
      kRowsHelp,
      "\n\nIt is the inverse of the statistics as they are now: rows that "
      "were\nnormalized with fewer rows counted don't come back exactly."));
}

}  // namespace streamnorm
