#include "stats/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "tests/stats/dispatch.h"
#include "tests/stats/oracle.h"

namespace streamnorm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Elements at an address that fits no type.
template <typename T>
class Unaligned {
 public:
  Unaligned(const std::vector<T>& values, size_t misalignment)
      : bytes_(values.size() * sizeof(T) + misalignment),
        size_(values.size()),
        misalignment_(misalignment) {
    std::memcpy(bytes_.data() + misalignment, values.data(), size_ * sizeof(T));
  }

  T* data() { return reinterpret_cast<T*>(bytes_.data() + misalignment_); }

  std::vector<T> values() const {
    std::vector<T> values(size_);
    std::memcpy(values.data(), bytes_.data() + misalignment_,
                size_ * sizeof(T));
    return values;
  }

 private:
  std::vector<uint8_t> bytes_;
  size_t size_;
  size_t misalignment_;
};

struct Shape {
  size_t rows, features;

  size_t size() const { return rows * features; }
  size_t misalignment() const { return (rows + features) % 8; }
};

// Every short length, so every remainder of every vector; then a few with
// many blocks of rows and many vectors.
std::vector<Shape> Shapes() {
  std::vector<Shape> shapes = {{257, 1030}, {1024, 3}, {3, 4099}, {100, 512}};
  for (size_t features = 1; features <= 70; ++features) {
    for (size_t rows = 1; rows <= 20; ++rows) {
      shapes.push_back({rows, features});
    }
  }
  return shapes;
}

// Ordinary values, and now and then one of a kind that rounds differently.
template <typename T>
std::vector<T> Values(Random& random, size_t count) {
  const T odd[] = {T{0}, -T{0}, std::numeric_limits<T>::denorm_min(), T{1e-30f},
                   T{-3e17f}};
  std::normal_distribution<double> normal(3, 2);
  std::vector<T> values(count);
  for (T& x : values) {
    x = random() % 16 == 0 ? odd[random() % std::size(odd)]
                           : static_cast<T>(normal(random));
  }
  return values;
}

void ExpectSame(const std::vector<double>& got,
                const std::vector<double>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(SameBits(got[i], want[i]))
        << "at " << i << ": " << got[i] << ", want " << want[i];
  }
}

struct Sums {
  std::vector<double> sum, sum_squares, minimum, maximum;

  explicit Sums(size_t features)
      : sum(features),
        sum_squares(features),
        minimum(features, kInfinity),
        maximum(features, -kInfinity) {}

  SumColumns columns() {
    return {sum.data(), sum_squares.data(), minimum.data(), maximum.data()};
  }

  void ExpectSameAs(const Sums& want) const {
    ExpectSame(sum, want.sum);
    ExpectSame(sum_squares, want.sum_squares);
    ExpectSame(minimum, want.minimum);
    ExpectSame(maximum, want.maximum);
  }
};

template <typename T>
void FoldRowsByHand(const std::vector<T>& x, const Shape& shape,
                    const std::vector<double>& shift, Sums* sums) {
  Sums block(shape.features);
  for (size_t i = 0; i < shape.size(); ++i) {
    const size_t r = i / shape.features, j = i % shape.features;
    const double value = static_cast<double>(x[i]);
    const double d = value - shift[j];
    block.sum[j] += d;
    block.sum_squares[j] += d * d;
    if ((r + 1) % kFoldBlockRows == 0 || r + 1 == shape.rows) {
      sums->sum[j] += std::exchange(block.sum[j], 0);
      sums->sum_squares[j] += std::exchange(block.sum_squares[j], 0);
    }
    // Of two zeros the earlier one stays.
    if (value < sums->minimum[j]) sums->minimum[j] = value;
    if (value > sums->maximum[j]) sums->maximum[j] = value;
  }
}

struct State {
  std::vector<double> mean, mean_tail, m2, m2_tail;

  MutableColumns columns() {
    return {mean.data(),    mean_tail.data(), m2.data(),
            m2_tail.data(), nullptr,          nullptr};
  }

  void ExpectSameAs(const State& want) const {
    ExpectSame(mean, want.mean);
    ExpectSame(mean_tail, want.mean_tail);
    ExpectSame(m2, want.m2);
    ExpectSame(m2_tail, want.m2_tail);
  }
};

std::pair<double, double> ExactSum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

void MergeFoldByHand(double rows, double rows_before, const Sums& sums,
                     State* s) {
  const double inverse = 1.0 / (rows_before + rows);
  for (size_t j = 0; j < s->mean.size(); ++j) {
    const double tail = s->mean_tail[j];
    const double d = sums.sum[j] - rows * tail;
    const double squares =
        sums.sum_squares[j] - tail * (2 * sums.sum[j] - rows * tail);
    std::tie(s->mean[j], s->mean_tail[j]) =
        ExactSum(s->mean[j], tail + d * inverse);
    const double growth = squares - d * (d * inverse);
    std::tie(s->m2[j], s->m2_tail[j]) =
        ExactSum(s->m2[j], std::fmax(0.0, growth) + s->m2_tail[j]);
  }
}

struct Table {
  std::vector<double> offset, offset_tail, scale;

  ForwardColumns columns() const {
    return {offset.data(), offset_tail.data(), scale.data()};
  }
};

template <typename T>
std::vector<T> ApplyRowsByHand(const std::vector<T>& x, const Table& table,
                               double clip, uint64_t* clipped) {
  std::vector<T> z(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t j = i % table.offset.size();
    double scaled =
        (static_cast<double>(x[i]) - table.offset[j] - table.offset_tail[j]) *
        table.scale[j];
    if (clip > 0 && std::fabs(scaled) > clip) {
      ++*clipped;
      scaled = std::copysign(clip, scaled);
    }
    z[i] = static_cast<T>(scaled);
  }
  return z;
}

Table RandomTable(Random& random, size_t features) {
  return {NormalValues(random, features, 3, 1),
          NormalValues(random, features, 0, 1e-16),
          NormalValues(random, features, 1, 0.3)};
}

class KernelsTest : public DispatchTest {
 protected:
  template <typename T>
  void TestFoldRows() {
    for (const Shape& shape : Shapes()) {
      SCOPED_TRACE(testing::Message() << shape.rows << "x" << shape.features);
      const std::vector<T> x = Values<T>(random_, shape.size());
      const auto shift = NormalValues(random_, shape.features, 3, 1);
      Unaligned<T> unaligned(x, shape.misalignment());
      Sums got(shape.features), want(shape.features);
      FoldRows(unaligned.data(), shape.rows, shape.features, shift.data(),
               got.columns());
      FoldRowsByHand(x, shape, shift, &want);
      ASSERT_NO_FATAL_FAILURE(got.ExpectSameAs(want));
    }
  }

  template <typename T>
  void TestApplyRows(double clip) {
    for (const Shape& shape : Shapes()) {
      SCOPED_TRACE(testing::Message() << shape.rows << "x" << shape.features);
      const std::vector<T> x = Values<T>(random_, shape.size());
      const Table table = RandomTable(random_, shape.features);
      Unaligned<T> in(x, shape.misalignment());
      Unaligned<T> out(std::vector<T>(x.size()), 7 - shape.misalignment());
      uint64_t clipped = 5, clipped_by_hand = 5;  // is added to
      ASSERT_TRUE(ApplyRows(in.data(), shape.rows, shape.features,
                            table.columns(), clip, out.data(), &clipped));
      ASSERT_EQ(out.values(),
                ApplyRowsByHand(x, table, clip, &clipped_by_hand));
      ASSERT_EQ(clipped, clipped_by_hand);
    }
  }

  // Whether ApplyRows accepts rows of ones with `value` in one place.
  template <typename T>
  bool Accepts(const Shape& shape, size_t place, T value, double scale,
               double clip) {
    std::vector<T> x(shape.size(), T{1}), z(shape.size());
    x[place] = value;
    const std::vector<double> zero(shape.features);
    const std::vector<double> scales(shape.features, scale);
    uint64_t clipped = 0;
    return ApplyRows(x.data(), shape.rows, shape.features,
                     {zero.data(), zero.data(), scales.data()}, clip, z.data(),
                     &clipped);
  }

  template <typename T>
  void TestNonfinite() {
    const T largest = std::numeric_limits<T>::max();
    const T infinity = std::numeric_limits<T>::infinity();
    for (size_t features = 1; features <= 20; ++features) {
      const Shape shape{3, features};
      for (size_t place = 0; place < shape.size(); ++place) {
        SCOPED_TRACE(testing::Message() << features << " " << place);
        EXPECT_TRUE(Accepts(shape, place, largest, 1, 0));
        EXPECT_TRUE(Accepts(shape, place, -largest, 1, 0));
        EXPECT_FALSE(Accepts(shape, place, largest, 1.5, 0));
        EXPECT_TRUE(Accepts(shape, place, largest, 1.5, 10));
        for (const double clip : {0.0, 10.0}) {
          EXPECT_FALSE(Accepts(shape, place, infinity, 1, clip));
          EXPECT_FALSE(Accepts(shape, place, -infinity, 1, clip));
          EXPECT_FALSE(Accepts(shape, place,
                               std::numeric_limits<T>::quiet_NaN(), 1, clip));
        }
      }
    }
  }

  Random random_{7};
};

TEST_P(KernelsTest, FoldRowsOfFloatIsTheScalarLoop) { TestFoldRows<float>(); }

TEST_P(KernelsTest, FoldRowsOfDoubleIsTheScalarLoop) { TestFoldRows<double>(); }

TEST_P(KernelsTest, FoldRowsAddsToWhatIsThere) {
  const Shape shape{5, 11};
  const auto x = Values<double>(random_, shape.size());
  const auto shift = NormalValues(random_, shape.features, 3, 1);
  Sums got(shape.features), want(shape.features);
  for (int i = 0; i < 3; ++i) {
    FoldRows(x.data(), shape.rows, shape.features, shift.data(), got.columns());
    FoldRowsByHand(x, shape, shift, &want);
  }
  got.ExpectSameAs(want);
}

TEST_P(KernelsTest, MergeFoldIsTheScalarLoop) {
  for (size_t features = 1; features <= 70; ++features) {
    for (const auto& [rows, before] :
         {std::pair{1, 1}, {4, 1000}, {1000, 3000}, {2, 2000000000}}) {
      Sums sums(features);
      sums.sum = NormalValues(random_, features, 0, 5);
      sums.sum_squares = NormalValues(random_, features, 30, 10);
      State got{NormalValues(random_, features, 1e3, 1e3),
                NormalValues(random_, features, 0, 1e-13),
                NormalValues(random_, features, 1e5, 1e2),
                NormalValues(random_, features, 0, 1e-11)};
      State want = got;
      const MutableColumns columns = got.columns();
      MergeFold(features, rows, before, sums.columns(), columns.AsConst(),
                columns);
      MergeFoldByHand(rows, before, sums, &want);
      ASSERT_NO_FATAL_FAILURE(got.ExpectSameAs(want)) << features;
    }
  }
}

TEST_P(KernelsTest, ApplyRowsOfFloatIsTheScalarLoop) {
  TestApplyRows<float>(0);
}

TEST_P(KernelsTest, ApplyRowsOfDoubleIsTheScalarLoop) {
  TestApplyRows<double>(0);
}

TEST_P(KernelsTest, ApplyRowsWithClipIsTheScalarLoop) {
  TestApplyRows<float>(0.75);
  TestApplyRows<double>(0.75);
}

TEST_P(KernelsTest, ApplyRowsFindsWhatIsNotFiniteAtAnyPlace) {
  TestNonfinite<float>();
  TestNonfinite<double>();
}

TEST_P(KernelsTest, NoRowsChangeNothing) {
  Sums sums(3);
  const Sums before = sums;
  const double shift[3] = {};
  FoldRows<float>(nullptr, 0, 3, shift, sums.columns());
  sums.ExpectSameAs(before);
  uint64_t clipped = 0;
  EXPECT_TRUE(ApplyRows<double>(nullptr, 0, 3, {shift, shift, shift}, 1,
                                nullptr, &clipped));
  EXPECT_EQ(clipped, 0u);
}

STREAMNORM_FOR_ALL_TARGETS(KernelsTest);

}  // namespace
}  // namespace streamnorm
