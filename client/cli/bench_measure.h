#ifndef STREAMNORM_CLIENT_CLI_BENCH_MEASURE_H_
#define STREAMNORM_CLIENT_CLI_BENCH_MEASURE_H_

#include <sys/types.h>

#include <vector>

namespace streamnorm {

// Of an even number of values the mean of the middle two; 0 of none.
double Median(std::vector<double> values);

// The value that a part of `part` of all is below; 0 of none.
// REQUIRES: `sorted` is; 0 <= part < 1.
double Quantile(const std::vector<double>& sorted, double part);

// User and system time so far, in microseconds: of this process, of its
// calling thread, of another process (0 if there is none such; to 10 ms).
double OwnCpuUs();
double ThreadCpuUs();
double CpuUsOf(pid_t pid);

}  // namespace streamnorm

#endif  // STREAMNORM_CLIENT_CLI_BENCH_MEASURE_H_
