// A net that trains in batches of 4 with batch normalization whose statistics
// a StreamNorm server keeps, over plain loops: what a layer of your own
// framework has to do. Give other workers the same prefix, and they share.
//
//   training_loop ADDRESS [PREFIX]
//
// Forward: y = (x - mean) / sqrt(variance + 1e-5), limited to [-5, 5], with the
// statistics before this batch (of the very first: its own). Backward, with
// g = dL/dy: that of batch normalization, a regression of g on (1, y), with
// running averages for those over the batch. What both need of this batch are
// moments, and those of all layers go in one ExchangeMoments a step.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/streamnorm_client.h"

namespace {

using streamnorm::v1::CreateNormalizerRequest;
using streamnorm::v1::MergeMomentsRequest;
using streamnorm::v1::MergeMomentsResponse;
using streamnorm::v1::Normalizer;

constexpr size_t kInputs = 16, kHidden = 32, kClasses = 4, kBatch = 4;
constexpr size_t kPrimingSteps = 16, kSteps = 6000, kTestRows = 1000;
constexpr double kEpsilon = 1e-5, kClip = 5, kLearningRate = 0.01;
constexpr double kGradWindowRows = 100;

struct Matrix {
  Matrix(size_t r, size_t c) : rows(r), columns(c), values(r * c) {}
  double& operator()(size_t i, size_t j) { return values[i * columns + j]; }
  double operator()(size_t i, size_t j) const {
    return values[i * columns + j];
  }
  size_t rows, columns;
  std::vector<double> values;
};

std::string Bytes(const std::vector<double>& values) {
  return {reinterpret_cast<const char*>(values.data()),
          values.size() * sizeof(double)};
}

std::vector<double> Doubles(const std::string& bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// The sum of the weights of `rows` rows in the gradients' window.
double Fraction(size_t rows) {
  return 1 - std::pow(1 - 1 / kGradWindowRows, double(rows));
}

class Linear {
 public:
  Linear(size_t inputs, size_t outputs, std::mt19937_64* random)
      : weights_(outputs, inputs), bias_(outputs) {
    std::normal_distribution<double> normal(0, std::sqrt(2 / double(inputs)));
    for (double& w : weights_.values) w = normal(*random);
  }

  Matrix Forward(const Matrix& x) {
    x_ = x;
    Matrix out(x.rows, weights_.rows);
    for (size_t r = 0; r < x.rows; ++r) {
      for (size_t o = 0; o < weights_.rows; ++o) {
        out(r, o) = bias_[o];
        for (size_t i = 0; i < x.columns; ++i) {
          out(r, o) += weights_(o, i) * x(r, i);
        }
      }
    }
    return out;
  }

  // From dL/dout to dL/dx; takes its step.
  Matrix Backward(const Matrix& g) {
    Matrix dx(x_.rows, x_.columns);
    for (size_t o = 0; o < g.columns; ++o) {
      for (size_t r = 0; r < g.rows; ++r) bias_[o] -= kLearningRate * g(r, o);
      for (size_t i = 0; i < x_.columns; ++i) {
        double dw = 0;
        for (size_t r = 0; r < g.rows; ++r) {
          dx(r, i) += g(r, o) * weights_(o, i);
          dw += g(r, o) * x_(r, i);
        }
        weights_(o, i) -= kLearningRate * dw;
      }
    }
    return dx;
  }

 private:
  Matrix weights_;
  std::vector<double> bias_;
  Matrix x_{0, 0};
};

// The layer, on normalizers `name` and `name`.grad.
class StreamNorm {
 public:
  StreamNorm(std::string name, size_t features)
      : name_(std::move(name)), features_(features), averages_(4 * features) {}

  const std::string& name() const { return name_; }

  absl::Status Create(streamnorm::Client* client) const {
    CreateNormalizerRequest forward, grad;
    forward.set_normalizer_id(name_);
    forward.mutable_normalizer()->set_features(int64_t(features_));
    forward.mutable_normalizer()->mutable_window()->set_window_rows(1000);
    grad.set_normalizer_id(name_ + ".grad");
    grad.mutable_normalizer()->set_features(int64_t(4 * features_));
    grad.mutable_normalizer()->mutable_window()->set_window_rows(
        kGradWindowRows);
    grad.mutable_normalizer()->set_moments(Normalizer::MEAN);
    if (auto made = client->CreateNormalizer(forward); !made.ok()) {
      return made.status();
    }
    return client->CreateNormalizer(grad).status();
  }

  Matrix Forward(const Matrix& x, bool training) {
    if (training) TakeMoments(x);
    if (mean_.empty()) {  // there were no rows before these
      mean_ = batch_mean_;
      for (const double m2 : batch_m2_) {
        variance_.push_back(m2 / double(x.rows));
      }
    }
    Matrix y(x.rows, features_);
    for (size_t r = 0; r < x.rows; ++r) {
      for (size_t j = 0; j < features_; ++j) {
        const double z = (x(r, j) - mean_[j]) * Scale(j);
        y(r, j) = std::clamp(z, -kClip, kClip);
      }
    }
    if (training) y_ = y;
    return y;
  }

  Matrix Backward(Matrix g) {
    for (size_t i = 0; i < g.values.size(); ++i) {
      if (std::fabs(y_.values[i]) >= kClip) g.values[i] = 0;
    }
    // E[g], E[gy], E[y] and E[yy] of this batch, then the running ones.
    batch_averages_.assign(4 * features_, 0);
    for (size_t r = 0; r < g.rows; ++r) {
      for (size_t j = 0; j < features_; ++j) {
        const double y = y_(r, j);
        const std::array<double, 4> terms = {g(r, j), g(r, j) * y, y, y * y};
        for (size_t k = 0; k < 4; ++k) {
          batch_averages_[k * features_ + j] += terms[k] / double(g.rows);
        }
      }
    }
    for (size_t i = 0; i < averages_.size(); ++i) {
      averages_[i] += Fraction(g.rows) * (batch_averages_[i] - averages_[i]);
    }
    Matrix dx(g.rows, features_);
    for (size_t j = 0; j < features_; ++j) {
      const double mean_g = averages_[j], mean_y = averages_[2 * features_ + j];
      const double covariance = averages_[features_ + j] - mean_g * mean_y;
      const double variance = averages_[3 * features_ + j] - mean_y * mean_y;
      const double slope = covariance / std::max(variance, 0.1);
      for (size_t r = 0; r < g.rows; ++r) {
        dx(r, j) = (g(r, j) - mean_g - (y_(r, j) - mean_y) * slope) * Scale(j);
      }
    }
    return dx;
  }

  // What the server is to count of this step.
  void AppendMerges(std::vector<MergeMomentsRequest>* merges) {
    auto* forward = &merges->emplace_back();
    forward->set_name("normalizers/" + name_);
    forward->set_count(batch_rows_);
    forward->set_mean(Bytes(batch_mean_));
    forward->set_m2(Bytes(batch_m2_));
    forward->set_return_statistics(true);
    if (batch_averages_.empty()) return;  // priming
    auto* grad = &merges->emplace_back();
    grad->set_name("normalizers/" + name_ + ".grad");
    grad->set_count(batch_rows_);
    grad->set_mean(Bytes(std::exchange(batch_averages_, {})));
    grad->set_return_statistics(true);
  }

  // What it answered: the statistics of all workers' rows.
  void TakeForward(const MergeMomentsResponse& answer) {
    mean_ = Doubles(answer.mean());
    variance_ = Doubles(answer.variance());
  }
  void TakeGrad(const MergeMomentsResponse& answer) {
    averages_ = Doubles(answer.mean());
    // The server's mean is unbiased; ours begins at 0.
    const double fraction = Fraction(answer.row_count());
    for (double& average : averages_) average *= fraction;
  }

 private:
  double Scale(size_t j) const {
    return 1 / std::sqrt(variance_[j] + kEpsilon);
  }

  // In two passes: the sum of squares minus the squared sum would cancel.
  void TakeMoments(const Matrix& x) {
    batch_rows_ = x.rows;
    batch_mean_.assign(features_, 0);
    batch_m2_.assign(features_, 0);
    for (size_t j = 0; j < features_; ++j) {
      for (size_t r = 0; r < x.rows; ++r) {
        batch_mean_[j] += x(r, j) / double(x.rows);
      }
      for (size_t r = 0; r < x.rows; ++r) {
        const double difference = x(r, j) - batch_mean_[j];
        batch_m2_[j] += difference * difference;
      }
    }
  }

  const std::string name_;
  const size_t features_;
  std::vector<double> mean_, variance_;  // empty: there are none yet
  std::vector<double> averages_;         // E[g], E[gy], E[y], E[yy]
  size_t batch_rows_ = 0;
  std::vector<double> batch_mean_, batch_m2_, batch_averages_;
  Matrix y_{0, 0};
};

void Rectify(Matrix* x) {
  for (double& value : x->values) value = std::max(value, 0.0);
}

class Net {
 public:
  Net(const std::string& prefix, std::mt19937_64* random)
      : linears_{Linear(kInputs, kHidden, random),
                 Linear(kHidden, kHidden, random),
                 Linear(kHidden, kClasses, random)},
        norms_{StreamNorm(prefix + ".0", kHidden),
               StreamNorm(prefix + ".1", kHidden)} {}

  std::span<StreamNorm> norms() { return norms_; }

  Matrix Forward(Matrix x, bool training) {
    for (size_t i = 0; i < norms_.size(); ++i) {
      x = norms_[i].Forward(linears_[i].Forward(x), training);
      Rectify(&x);
      if (training) rectified_[i] = x;
    }
    return linears_.back().Forward(x);
  }

  void Backward(Matrix g) {
    g = linears_.back().Backward(g);
    for (size_t i = norms_.size(); i-- > 0;) {
      for (size_t k = 0; k < g.values.size(); ++k) {
        if (rectified_[i].values[k] == 0) g.values[k] = 0;
      }
      g = linears_[i].Backward(norms_[i].Backward(std::move(g)));
    }
  }

  // One round trip for all layers.
  absl::Status Exchange(streamnorm::ClientSession* session) {
    std::vector<MergeMomentsRequest> merges;
    for (auto& norm : norms_) norm.AppendMerges(&merges);
    auto answers = session->ExchangeMoments(merges);
    if (!answers.ok()) return answers.status();
    const bool with_grads = merges.size() > norms_.size();
    for (size_t i = 0; i < answers->size(); ++i) {
      const auto& answer = (*answers)[i];
      if (!answer.ok()) return answer.status();
      if (!with_grads) {
        norms_[i].TakeForward(*answer);
      } else if (i % 2 == 0) {
        norms_[i / 2].TakeForward(*answer);
      } else {
        norms_[i / 2].TakeGrad(*answer);
      }
    }
    return absl::OkStatus();
  }

 private:
  std::vector<Linear> linears_;
  std::vector<StreamNorm> norms_;
  std::array<Matrix, 2> rectified_{Matrix(0, 0), Matrix(0, 0)};
};

struct Batch {
  Matrix x;
  std::vector<size_t> classes;
};

// Rows around 5, and the class that a random matrix gives each.
class Data {
 public:
  explicit Data(std::mt19937_64* random) : random_(random) {
    for (double& w : teacher_.values) w = normal_(*random_);
  }

  Batch Draw(size_t rows) {
    Batch batch = {Matrix(rows, kInputs), {}};
    for (size_t r = 0; r < rows; ++r) {
      std::array<double, kClasses> scores = {};
      for (size_t j = 0; j < kInputs; ++j) {
        const double z = normal_(*random_);
        batch.x(r, j) = 5 + 2 * z;
        for (size_t c = 0; c < kClasses; ++c) scores[c] += teacher_(c, j) * z;
      }
      batch.classes.push_back(
          size_t(std::ranges::max_element(scores) - scores.begin()));
    }
    return batch;
  }

 private:
  std::mt19937_64* const random_;
  std::normal_distribution<double> normal_;
  Matrix teacher_{kClasses, kInputs};
};

// dL/dlogits of the mean cross entropy.
Matrix LossGradient(const Matrix& logits, const std::vector<size_t>& classes) {
  Matrix g(logits.rows, kClasses);
  for (size_t r = 0; r < logits.rows; ++r) {
    double sum = 0;
    for (size_t c = 0; c < kClasses; ++c) {
      sum += g(r, c) = std::exp(logits(r, c));
    }
    for (size_t c = 0; c < kClasses; ++c) {
      g(r, c) =
          (g(r, c) / sum - (c == classes[r] ? 1 : 0)) / double(logits.rows);
    }
  }
  return g;
}

double Accuracy(const Matrix& logits, const std::vector<size_t>& classes) {
  size_t right = 0;
  for (size_t r = 0; r < logits.rows; ++r) {
    const double* row = &logits.values[r * kClasses];
    const auto best = std::max_element(row, row + kClasses) - row;
    right += static_cast<size_t>(best) == classes[r];
  }
  return double(right) / double(logits.rows);
}

absl::Status Train(Net* net, Data* data, streamnorm::ClientSession* session) {
  // Statistics before the first step: they decide as much as the formulas.
  for (size_t step = 0; step < kPrimingSteps; ++step) {
    net->Forward(data->Draw(kBatch).x, /*training=*/true);
    if (auto s = net->Exchange(session); !s.ok()) return s;
  }
  for (size_t step = 0; step < kSteps; ++step) {
    const auto [x, classes] = data->Draw(kBatch);
    net->Backward(LossGradient(net->Forward(x, /*training=*/true), classes));
    if (auto s = net->Exchange(session); !s.ok()) return s;
  }
  return session->Close();  // all of it is on the server's disk
}

absl::Status Run(const std::string& address, const std::string& prefix) {
  auto client = streamnorm::Client::Connect(address);
  if (!client.ok()) return client.status();
  std::mt19937_64 random(1);
  Net net(prefix, &random);
  for (const auto& norm : net.norms()) {
    if (auto s = norm.Create(client->get()); !s.ok()) return s;
  }
  auto session = (*client)->OpenSession("training_loop");
  if (!session.ok()) return session.status();
  Data data(&random);
  if (auto s = Train(&net, &data, session->get()); !s.ok()) return s;

  const auto [x, classes] = data.Draw(kTestRows);
  const double accuracy = Accuracy(net.Forward(x, /*training=*/false), classes);
  std::printf("accuracy %.1f %% on %zu rows, after %zu steps of %zu rows\n",
              100 * accuracy, kTestRows, kSteps, kBatch);
  bool exact = true;
  for (const auto& norm : net.norms()) {
    for (const auto& [name, rows] :
         {std::pair(norm.name(), kBatch * (kPrimingSteps + kSteps)),
          std::pair(norm.name() + ".grad", kBatch * kSteps)}) {
      auto found = (*client)->GetNormalizer(name);
      if (!found.ok()) return found.status();
      std::printf("%s: %zu rows sent, %lu counted\n", name.c_str(), rows,
                  static_cast<unsigned long>(found->row_count()));
      exact &= found->row_count() == rows;
    }
  }
  if (!exact) return absl::InternalError("rows were lost or counted twice");
  if (accuracy < 0.85) return absl::InternalError("it did not learn");
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const auto status =
      Run(argc > 1 ? argv[1] : "", argc > 2 ? argv[2] : "training_loop");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}
