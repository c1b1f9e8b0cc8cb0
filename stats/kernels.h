#ifndef STREAMNORM_STATS_KERNELS_H_
#define STREAMNORM_STATS_KERNELS_H_

#include <cstddef>
#include <cstdint>

namespace streamnorm {

// The vector loops, chosen at run time for the CPU (Highway). Each works on
// whole columns of row-major data, adds and multiplies in the same order on
// every CPU and without fused multiply-add, so results are bit-identical.
// Pointers need no alignment. T is float or double.

// Rows that are summed by themselves before they are added to the rest: sums
// of 1024 rows round like sums of 136, and the accumulators of a block stay in
// L1 while its rows stream by.
inline constexpr size_t kFoldBlockRows = 8;

// Per feature j and block of rows, with d = x - shift[j] and everything in the
// order of the rows: sum[j] += sum of d; sum_squares[j] += sum of d * d;
// minimum and maximum take x.
template <typename T>
void FoldRows(const T* x, size_t rows, size_t features, const double* shift,
              double* sum, double* sum_squares, double* minimum,
              double* maximum);

// Merges `rows` rows, folded around shift = mean, into moments of `rows_before`
// rows: mean and m2 are double-doubles (docs/numerics.md, "Fold").
void MergeFold(size_t features, double rows, double rows_before,
               const double* sum, const double* sum_squares, double* mean,
               double* mean_tail, double* m2, double* m2_tail);

// z = (x - offset - offset_tail) * scale, limited to [-clip, clip] if clip > 0.
// Adds the number of limited values to `*clipped`. Returns false if any x or z
// is not finite: then the output is not to be used.
template <typename T>
bool ApplyRows(const T* x, size_t rows, size_t features, const double* offset,
               const double* offset_tail, const double* scale, double clip,
               T* z, uint64_t* clipped);

}  // namespace streamnorm

#endif  // STREAMNORM_STATS_KERNELS_H_
