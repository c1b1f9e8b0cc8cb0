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

using Inode = uint64_t;
constexpr Inode kDirectory = 0;

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
  explicit Model(const std::string& journal) {
    std::ifstream lines(journal);
    for (std::string line; std::getline(lines, line);) Replay(line);
  }

  std::map<Inode, File> files;
  std::map<std::string, Directory> directories;  // by path

 private:
  struct SyncBegun {
    std::string path;
    size_t steps = 0;  // of the directory, from the first one on
    std::map<std::string, Inode> names;
  };

  static std::pair<std::string, std::string> Split(const std::string& path) {
    const size_t slash = path.rfind('/');
    return {path.substr(0, slash), path.substr(slash + 1)};
  }

  void Step(const std::string& path, NameStep step) {
    Directory& directory = directories[Split(path).first];
    for (const NameChange& change : step) {
      if (change.gone) {
        directory.now.erase(change.name);
      } else {
        directory.now[change.name] = change.inode;
      }
    }
    directory.unsynced.push_back(std::move(step));
  }

  Inode InodeOf(const std::string& path) {
    const auto [parent, name] = Split(path);
    const auto& names = directories[parent].now;
    const auto it = names.find(name);
    if (it == names.end()) Give("no name " + path);
    return it->second;
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
        files[inode].synced = number;
        directories[Split(path).first].synced[Split(path).second] = inode;
        directories[Split(path).first].now[Split(path).second] = inode;
        if (inode == kDirectory) directories[path];
        return;
      case 'C':
        words >> inode >> path;
        files[inode] = {};
        return Step(path, {{Split(path).second, inode}});
      case 'M':
        words >> path;
        directories[path];
        return Step(path, {{Split(path).second, kDirectory}});
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
        const Directory& directory = directories[path];
        begun_[other] = {path,
                         directory.steps_synced + directory.unsynced.size(),
                         directory.now};
        return;
      }
      case 'D': {
        words >> other;
        const SyncBegun& begun = begun_[other];
        Directory& directory = directories[begun.path];
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
  Model model(notes_ + "/journal");
  loss_ = {};
  const std::string before = path_ + "/before-the-cut";
  fs::rename(directory_, before);
  fs::create_directory(directory_);
  // A directory comes before what is in it, in the order of the paths.
  for (auto& [path, directory] : model.directories) {
    const uint64_t steps = SomeOf(directory.unsynced.size(), random);
    loss_.names += directory.unsynced.size() - steps;
    for (uint64_t i = 0; i < steps; ++i) {
      for (const NameChange& change : directory.unsynced[i]) {
        if (change.gone) {
          directory.synced.erase(change.name);
        } else {
          directory.synced[change.name] = change.inode;
        }
      }
    }
    if (!fs::exists(path)) continue;  // it is gone itself
    for (const auto& [name, inode] : directory.synced) {
      if (inode == kDirectory) {
        fs::create_directory(path + "/" + name);
        continue;
      }
      std::ofstream(path + "/" + name, std::ios::binary) << BytesAfterCut(
          model.files[inode],
          ReadAll(notes_ + "/keep/" + std::to_string(inode)), &loss_, random);
    }
  }
  fs::remove_all(before);
  BeginJournal();
}

}  // namespace streamnorm
