#ifndef STREAMNORM_STORAGE_KILL_POINT_H_
#define STREAMNORM_STORAGE_KILL_POINT_H_

// STREAMNORM_KILL_POINT("sync.log_synced") names a place between two steps of
// the protocol where dying is most likely to hurt. It is nothing, but in the
// one program that tests/battery builds to die there (kill_points_test.cc,
// which has to list each).

#ifdef STREAMNORM_KILL_POINTS

namespace streamnorm {

void PassKillPoint(const char* name);

}  // namespace streamnorm

#define STREAMNORM_KILL_POINT(name) ::streamnorm::PassKillPoint(name)

#else

#define STREAMNORM_KILL_POINT(name) static_cast<void>(0)

#endif

#endif  // STREAMNORM_STORAGE_KILL_POINT_H_
