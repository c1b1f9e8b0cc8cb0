#include "tests/faults/power_cut.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

namespace streamnorm {
namespace {

namespace fs = std::filesystem;

// Of a file the disk's, of a directory one of our own: it keeps it when it is
// renamed.
using Inode = uint64_t;
constexpr Inode kRoot = Inode{1} << 63;

bool IsDirectory(Inode inode) { return inode >= kRoot; }

// Bytes that an overwrite replaced.
struct Undo {
  uint64_t offset = 0;
  std::string old;
};

struct File {
  uint64_t synced = 0;
  std::vector<Undo> overwritten;  // since the last sync
};

// A change of the names in one directory: `inode` gets `name`, or it goes.
struct NameChange {
  std::string name;
  Inode inode = 0;
  bool gone = false;
};

// A rename or a link is two changes at once.
using NameStep = std::vector<NameChange>;

struct Directory {
  std::map<std::string, Inode> now, synced;
  std::vector<NameStep> unsynced;
  size_t steps_synced = 0;
};

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

std::string Unhex(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

[[noreturn]] void Give(const std::string& what) {
  std::fprintf(stderr, "power cut: %s\n", what.c_str());
  std::abort();
}

// What the journal says of the disk.
class Model {
 public:
  Model(std::string root, const std::string& journal) : root_(std::move(root)) {
    directories[kRoot];
    std::ifstream lines(journal);
    for (std::string line; std::getline(lines, line);) Replay(line);
  }

  std::map<Inode, File> files;
  std::map<Inode, Directory> directories;

 private:
  struct SyncBegun {
    Inode directory = 0;
    size_t steps = 0;  // of the directory, from the first one on
    std::map<std::string, Inode> names;
  };

  static std::pair<std::string, std::string> Split(const std::string& path) {
    const size_t slash = path.rfind('/');
    return {path.substr(0, slash), path.substr(slash + 1)};
  }

  Inode InodeOf(const std::string& path) {
    if (path == root_) return kRoot;
    const auto [parent, name] = Split(path);
    const auto& names = DirectoryAt(parent).now;
    const auto it = names.find(name);
    if (it == names.end()) Give("no name " + path);
    return it->second;
  }

  Directory& DirectoryAt(const std::string& path) {
    if (!path.starts_with(root_)) Give("elsewhere: " + path);
    const auto it = directories.find(InodeOf(path));
    if (it == directories.end()) Give("no directory " + path);
    return it->second;
  }

  Inode NewDirectory() {
    const Inode inode = kRoot + directories.size();
    directories[inode];
    return inode;
  }

  void Step(const std::string& path, NameStep step) {
    Directory& directory = DirectoryAt(Split(path).first);
    for (const NameChange& change : step) {
      if (change.gone) {
        directory.now.erase(change.name);
      } else {
        directory.now[change.name] = change.inode;
      }
    }
    directory.unsynced.push_back(std::move(step));
  }

  void Replay(const std::string& line) {
    std::istringstream words(line);
    char kind = 0;
    words >> kind;
    std::string path, other, hex;
    Inode inode = 0;
    uint64_t number = 0;
    switch (kind) {
      case 'B':
        words >> inode >> number >> path;
        return Found(path, inode == 0 ? NewDirectory() : inode, number);
      case 'C':
        words >> inode >> path;
        files[inode] = {};
        return Step(path, {{Split(path).second, inode}});
      case 'M':
        words >> path;
        return Step(path, {{Split(path).second, NewDirectory()}});
      case 'U':
        words >> path;
        return Step(path, {{Split(path).second, 0, true}});
      case 'R':
        words >> path >> other;
        if (Split(path).first != Split(other).first) Give("moved: " + line);
        return Step(path, {{Split(path).second, 0, true},
                           {Split(other).second, InodeOf(path)}});
      case 'L':
        words >> path >> other;
        return Step(other, {{Split(other).second, InodeOf(path)}});
      case 'S':
        words >> inode >> number;
        files[inode].synced = std::max(files[inode].synced, number);
        files[inode].overwritten.clear();
        return;
      case 'O':
        words >> inode >> number >> hex;
        // What was never synced is cut anyway.
        if (number < files[inode].synced) {
          files[inode].overwritten.push_back({number, Unhex(hex)});
        }
        return;
      case 'T':
        words >> inode >> number;
        files[inode].synced = std::min(files[inode].synced, number);
        return;
      case 'd': {
        words >> other >> path;
        const Directory& directory = DirectoryAt(path);
        begun_[other] = {InodeOf(path),
                         directory.steps_synced + directory.unsynced.size(),
                         directory.now};
        return;
      }
      case 'D': {
        words >> other;
        const SyncBegun& begun = begun_[other];
        Directory& directory = directories[begun.directory];
        // One that began later may have ended before.
        if (begun.steps <= directory.steps_synced) return;
        const auto steps =
            static_cast<ptrdiff_t>(begun.steps - directory.steps_synced);
        directory.unsynced.erase(directory.unsynced.begin(),
                                 directory.unsynced.begin() + steps);
        directory.synced = begun.names;
        directory.steps_synced = begun.steps;
        return;
      }
      default:
        Give("journal: " + line);
    }
  }

  // At the start, synced.
  void Found(const std::string& path, Inode inode, uint64_t size) {
    if (!IsDirectory(inode)) files[inode].synced = size;
    Directory& parent = DirectoryAt(Split(path).first);
    parent.synced[Split(path).second] = parent.now[Split(path).second] = inode;
  }

  const std::string root_;
  std::map<std::string, SyncBegun> begun_;
};

// Up to `most`; often none or all of it.
uint64_t SomeOf(uint64_t most, std::mt19937_64* random) {
  switch ((*random)() % 3) {
    case 0:
      return 0;
    case 1:
      return most;
    default:
      return (*random)() % (most + 1);
  }
}

std::string BytesAfterCut(const File& file, std::string bytes,
                          RecordedDisk::Loss* loss, std::mt19937_64* random) {
  const uint64_t unsynced =
      bytes.size() - std::min<uint64_t>(file.synced, bytes.size());
  const uint64_t stays = file.synced + SomeOf(unsynced, random);
  // The last overwrite is undone first.
  for (auto it = file.overwritten.rbegin(); it != file.overwritten.rend();
       ++it) {
    const uint64_t undone = SomeOf(it->old.size(), random);
    bytes.replace(it->offset, undone, it->old, 0, undone);
    loss->bytes += undone;
  }
  if (stays >= bytes.size()) return bytes;
  loss->bytes += bytes.size() - stays;
  // A block that was allocated and not written: zeros, or what was there.
  const uint64_t size = bytes.size();
  bytes.resize(stays);
  if ((*random)() % 4 == 0) {
    const bool zeros = (*random)() % 2 == 0;
    const uint64_t garbage = (*random)() % (size - stays + 1);
    for (uint64_t i = 0; i < garbage; ++i) {
      bytes += zeros ? '\0' : static_cast<char>((*random)());
    }
  }
  return bytes;
}

std::map<std::string, Inode> NamesAfterCut(Directory* directory,
                                           RecordedDisk::Loss* loss,
                                           std::mt19937_64* random) {
  const uint64_t steps = SomeOf(directory->unsynced.size(), random);
  loss->names += directory->unsynced.size() - steps;
  for (uint64_t i = 0; i < steps; ++i) {
    for (const NameChange& change : directory->unsynced[i]) {
      if (change.gone) {
        directory->synced.erase(change.name);
      } else {
        directory->synced[change.name] = change.inode;
      }
    }
  }
  return directory->synced;
}

}  // namespace

RecordedDisk::RecordedDisk(std::string path)
    : path_(std::move(path)),
      directory_(path_ + "/disk"),
      notes_(path_ + "/notes") {
  fs::create_directories(directory_);
  BeginJournal();
}

// All that is there counts as synced.
void RecordedDisk::BeginJournal() const {
  fs::remove_all(notes_);
  fs::create_directories(notes_ + "/keep");
  std::ofstream journal(notes_ + "/journal");
  for (const auto& entry : fs::recursive_directory_iterator(directory_)) {
    if (entry.is_directory()) {
      journal << "B 0 0 " << entry.path().string() << "\n";
      continue;
    }
    struct stat info {};
    if (stat(entry.path().c_str(), &info) != 0) Give("stat");
    fs::create_hard_link(entry.path(),
                         notes_ + "/keep/" + std::to_string(info.st_ino));
    journal << "B " << info.st_ino << " " << info.st_size << " "
            << entry.path().string() << "\n";
  }
}

void RecordedDisk::CutPower(std::mt19937_64* random) {
  Model model(directory_, notes_ + "/journal");
  loss_ = {};
  fs::remove_all(directory_);  // notes_ has links to its files
  const auto lay_out = [&](Inode inode, const std::string& path,
                           const auto& self) -> void {
    fs::create_directory(path);
    for (const auto& [name, of] :
         NamesAfterCut(&model.directories[inode], &loss_, random)) {
      const std::string entry = path + "/" + name;
      if (IsDirectory(of)) {
        self(of, entry, self);
        continue;
      }
      std::ofstream(entry, std::ios::binary) << BytesAfterCut(
          model.files[of], ReadAll(notes_ + "/keep/" + std::to_string(of)),
          &loss_, random);
    }
  };
  lay_out(kRoot, directory_, lay_out);
  BeginJournal();
}

}  // namespace streamnorm
