#include "client/cli/fit_checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/cli/fnv1a.h"

namespace streamnorm {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kFormat[] = "streamnorm-fit 1";
constexpr size_t kHashedBytes = size_t{64} << 10;

absl::Status Failed(absl::string_view what, absl::string_view path) {
  return absl::UnknownError(
      absl::StrCat(what, " ", path, ": ", std::strerror(errno)));
}

// Rename keeps the name; this keeps the renaming.
void SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder =
      slash == path.npos ? "." : path.substr(0, slash + 1);
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  static_cast<void>(fsync(fd));  // some file systems can't: then as it is
  close(fd);
}

bool WriteSynced(const std::string& path, absl::string_view text) {
  const int fd =
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  bool done = true;
  while (done && !text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    done = n > 0;
    if (done) text.remove_prefix(static_cast<size_t>(n));
  }
  done = done && fsync(fd) == 0;
  const int error = errno;
  close(fd);
  errno = error;
  return done;
}

std::string ToText(const FitCheckpoint& checkpoint) {
  Json files = Json::array();
  for (const FileIdentity& file : checkpoint.files) {
    files.push_back({{"path", absl::Base64Escape(file.path)},
                     {"size", file.size},
                     {"modified_ns", file.modified_ns},
                     {"begin_hash", file.begin_hash}});
  }
  Json json = {{"format", kFormat},
               {"normalizer", checkpoint.normalizer},
               {"generation", checkpoint.generation},
               {"options", absl::Base64Escape(checkpoint.options)},
               {"batch_rows", checkpoint.batch_rows},
               {"files", std::move(files)},
               {"token", absl::Base64Escape(checkpoint.token)},
               {"file", checkpoint.file}};
  if (checkpoint.position) {
    json["position"] = {{"bytes", checkpoint.position->bytes},
                        {"rows", checkpoint.position->rows},
                        {"line", checkpoint.position->line}};
  }
  json["rows"] = checkpoint.rows;
  json["skipped_values"] = checkpoint.skipped_values;
  json["settled"] = checkpoint.settled;
  json["finished"] = checkpoint.finished;
  return json.dump(1) + "\n";
}

// Takes members of an object; `ok` is false after the first that is missing or
// of another type.
struct Reader {
  const Json& json;
  bool* ok;

  const Json* Member(const char* name) const {
    const auto found = json.is_object() ? json.find(name) : json.end();
    if (!json.is_object() || found == json.end()) *ok = false;
    return *ok ? &*found : nullptr;
  }
  template <typename Number>
  void Take(const char* name, Number* number) const {
    const Json* member = Member(name);
    *ok = *ok && member->is_number_integer();
    if (*ok) *number = member->get<Number>();
  }
  void Take(const char* name, bool* value) const {
    const Json* member = Member(name);
    *ok = *ok && member->is_boolean();
    if (*ok) *value = member->get<bool>();
  }
  void Take(const char* name, std::string* text) const {
    const Json* member = Member(name);
    *ok = *ok && member->is_string();
    if (*ok) *text = member->get<std::string>();
  }
  void TakeBytes(const char* name, std::string* bytes) const {
    std::string text;
    Take(name, &text);
    *ok = *ok && absl::Base64Unescape(text, bytes);
  }
};

std::optional<FitCheckpoint> FromText(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  bool ok = true;
  const Reader reader{json, &ok};
  FitCheckpoint checkpoint;
  std::string format;
  reader.Take("format", &format);
  reader.Take("normalizer", &checkpoint.normalizer);
  reader.Take("generation", &checkpoint.generation);
  reader.TakeBytes("options", &checkpoint.options);
  reader.Take("batch_rows", &checkpoint.batch_rows);
  reader.TakeBytes("token", &checkpoint.token);
  reader.Take("file", &checkpoint.file);
  reader.Take("rows", &checkpoint.rows);
  reader.Take("skipped_values", &checkpoint.skipped_values);
  reader.Take("settled", &checkpoint.settled);
  reader.Take("finished", &checkpoint.finished);
  if (ok && json.contains("position")) {
    checkpoint.position.emplace();
    const Reader position{json["position"], &ok};
    position.Take("bytes", &checkpoint.position->bytes);
    position.Take("rows", &checkpoint.position->rows);
    position.Take("line", &checkpoint.position->line);
  }
  const Json* files = reader.Member("files");
  for (size_t i = 0; ok && i < files->size(); ++i) {
    FileIdentity& file = checkpoint.files.emplace_back();
    const Reader member{(*files)[i], &ok};
    member.TakeBytes("path", &file.path);
    member.Take("size", &file.size);
    member.Take("modified_ns", &file.modified_ns);
    member.Take("begin_hash", &file.begin_hash);
  }
  const bool sound = ok && format == kFormat && checkpoint.batch_rows > 0 &&
                     checkpoint.file <= checkpoint.files.size();
  return sound ? std::optional(std::move(checkpoint)) : std::nullopt;
}

}  // namespace

absl::StatusOr<std::optional<FileIdentity>> IdentityOf(
    const std::string& path) {
  if (path == "-") return std::optional<FileIdentity>();
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return Failed("can't open", path);
  if (!S_ISREG(status.st_mode)) return std::optional<FileIdentity>();
  FileIdentity identity;
  identity.path = path;
  identity.size = static_cast<uint64_t>(status.st_size);
  identity.modified_ns =
      int64_t{status.st_mtim.tv_sec} * 1'000'000'000 + status.st_mtim.tv_nsec;
  std::ifstream file(path, std::ios::binary);
  std::string begin(kHashedBytes, '\0');
  file.read(begin.data(), static_cast<std::streamsize>(begin.size()));
  if (file.bad() || !file.is_open()) return Failed("can't read", path);
  begin.resize(static_cast<size_t>(file.gcount()));
  identity.begin_hash = Fnv1a(begin);
  return std::optional(std::move(identity));
}

absl::Status SaveCheckpoint(const FitCheckpoint& checkpoint,
                            const std::string& path) {
  const std::string fresh = path + ".new";
  if (!WriteSynced(fresh, ToText(checkpoint)) ||
      std::rename(fresh.c_str(), path.c_str()) != 0) {
    const absl::Status failed = Failed("can't write the checkpoint", path);
    unlink(fresh.c_str());
    return failed;
  }
  SyncFolderOf(path);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<FitCheckpoint>> LoadCheckpoint(
    const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file.is_open()) {
    if (errno == ENOENT) return std::optional<FitCheckpoint>();
    return Failed("can't read the checkpoint", path);
  }
  std::ostringstream text;
  text << file.rdbuf();
  auto checkpoint = FromText(text.str());
  if (checkpoint) return checkpoint;
  return absl::InvalidArgumentError(absl::StrCat(
      path,
      ": damaged, or not a checkpoint of this program; name another one with "
      "--checkpoint, or reset the normalizer and begin anew with --restart"));
}

absl::Status RemoveCheckpoint(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return Failed("can't remove the checkpoint", path);
}

}  // namespace streamnorm
