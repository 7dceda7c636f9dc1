// SPDX-License-Identifier: BSD-3-Clause
#ifndef VKRING_TESTS_MODEL_MACHINE_HPP
#define VKRING_TESTS_MODEL_MACHINE_HPP

// Runs the real queue code of two sides over the model's memory, one shared access at a time.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "memory.hpp"

namespace vkring::test::model {

/// What a side is about to do: the next thing that the other side can notice or influence.
enum class action : std::uint8_t { nothing, load, load_acquire, fence, notify, wait };

/// What happened somewhere in an exploration: a run that never slept proves nothing about sleep.
enum class event : std::uint8_t {
  kick_suppressed,
  call_suppressed,
  driver_slept,
  device_slept,
  driver_found_more,
  device_found_more,
  index_wrapped,
  general_mode,
  back_to_fast,
};

/// Private words of a side, copied in and out of its objects.
class private_words {
 public:
  template <class T>
  void save(const T& from) noexcept {
    static_assert(sizeof(T) <= sizeof(std::uint64_t) && std::is_trivially_copyable_v<T>);
    std::uint64_t word = 0;
    std::memcpy(&word, &from, sizeof from);
    words_.push(word);
  }
  template <class T>
  void load(T& to, std::size_t at) const noexcept {
    std::memcpy(static_cast<void*>(&to), &words_[at], sizeof to);
  }
  [[nodiscard]] const auto& words() const noexcept { return words_; }

 private:
  inline_vector<std::uint64_t, 56> words_;
};

/// The program of one side. `operate` runs one operation, from a state that only `visit` words of
/// make up; it is run again from there for each further access, with the same results so far.
class script {
 public:
  virtual ~script() = default;
  virtual void operate() = 0;
  [[nodiscard]] virtual bool finished() const = 0;
  /// The operation that comes next, for traces.
  [[nodiscard]] virtual const char* doing() const = 0;
  [[nodiscard]] virtual private_words save() = 0;
  virtual void restore(const private_words& from) = 0;
};

/// One side between two of its accesses.
struct side_state {
  struct access {
    action what;
    std::uint8_t word;
    std::uint64_t got;
  };
  private_words start;            // when the current operation began
  inline_vector<access, 40> log;  // what it did since
  access next{};
  bool finished = false;
};

struct state {
  memory shared;
  std::array<side_state, 2> sides{};
  std::array<bool, 2> notified{};  // [whom]: an eventfd, of which only zero or not matters

  template <class Visit>
  void visit(Visit&& visit) const noexcept {
    shared.visit(visit);
    for (const side_state& each : sides) {
      for (const std::uint64_t word : each.start.words()) visit(word);
      visit(each.log.size() << 1 | (each.finished ? 1u : 0u));
      for (const side_state::access& done : each.log) visit(done.got);
    }
    visit(std::uint64_t{notified[0]} << 1 | std::uint64_t{notified[1]});
  }
};

/// The machine that scripts and `model_access` talk to. One at a time; not thread-safe.
///
/// A side is parked at its next load, fence or notification. To go on, the operation that it is in
/// runs again on a copy of its private state, is given what its accesses returned before, performs
/// one more, and whatever it does then is cut off at the access after that: from there on the
/// machine answers 0 to everything and forgets what comes. Queues must survive any value anyway.
class machine {
 public:
  machine(strength model, bool notifications_order, std::byte* base, std::size_t bytes)
      : model_(model),
        notifications_order_(notifications_order),
        base_(base),
        at_(bytes / 2, none) {
    current() = this;
  }
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;
  ~machine() { current() = nullptr; }

  static machine*& current() noexcept {
    static machine* one = nullptr;
    return one;
  }

  /// Declares a shared word. Accesses anywhere else, or of another size, are violations.
  template <class T>
  void add_word(const T& word, std::string name) {
    at_[offset(&word)] = static_cast<std::uint8_t>(words_.size());
    words_.push_back({std::move(name), sizeof(T)});
    presets_.push_back(0);
  }

  /// The state before either side ran, each parked at its first access; the same at every call.
  [[nodiscard]] state begin(script& driver, script& device) {
    if (initialising_) {
      initialising_ = false;
      scripts_ = {&driver, &device};
      initial_ = {driver.save(), device.save()};
    }
    violation_.clear();
    state first{memory(model_, words_.size())};
    for (std::size_t i = 0; i < words_.size(); ++i) first.shared.preset(i, presets_[i]);
    now_ = &first;
    for (const side one : {side::driver, side::device}) {
      first.sides[index(one)].start = initial_[index(one)];
      run(one);
    }
    now_ = nullptr;
    return first;
  }

  /// In how many ways `one` can go on. 0: it waits or has finished.
  [[nodiscard]] static std::size_t choices(const state& from, side one) noexcept {
    const side_state& at = from.sides[index(one)];
    switch (at.next.what) {
      case action::nothing:
        return 0;
      case action::load:
      case action::load_acquire:
        return from.shared.choices(one, at.next.word);
      case action::fence:
      case action::notify:
        return 1;
      case action::wait:
        return from.notified[index(one)] ? 1 : 0;
    }
    return 0;
  }

  /// Lets `one` go on in the way `choice` up to its next access.
  void advance(state& from, side one, std::size_t choice) {
    now_ = &from;
    side_state& at = from.sides[index(one)];
    side_state::access next = at.next;
    switch (next.what) {
      case action::nothing:
        break;
      case action::load:
      case action::load_acquire:
        next.got = from.shared.load(one, next.word, next.what == action::load_acquire, choice);
        tell_load(one, next);
        break;
      case action::fence:
        from.shared.full_fence(one);
        tell(one, "full fence");
        break;
      case action::notify:
        if (notifications_order_) from.shared.flush(one);
        from.notified[index(other(one))] = true;
        tell(one, one == side::driver ? "kicks" : "calls");
        break;
      case action::wait:
        from.notified[index(one)] = false;
        tell(one, "wakes up");
        break;
    }
    at.log.push(next);
    run(one);
    now_ = nullptr;
  }

  /// What went wrong, or nothing.
  [[nodiscard]] const std::string& violation() const noexcept { return violation_; }
  [[nodiscard]] unsigned events() const noexcept { return events_; }
  /// Where to write what happens from now on, line by line, or nowhere.
  void narrate(std::string* story) noexcept { story_ = story; }

  // For scripts.
  /// Whether what the script sees is real, so that it may judge it.
  [[nodiscard]] bool real() const noexcept { return !parked_; }
  void fail(const std::string& what) {
    if (real() && violation_.empty()) violation_ = what;
  }
  void note(event what) noexcept {
    if (real()) events_ |= 1u << static_cast<unsigned>(what);
  }
  void notify() noexcept { visible(action::notify, 0); }
  void wait() noexcept { visible(action::wait, 0); }

  // For model_access.
  std::uint64_t load(const void* word, std::size_t size, bool acquire) noexcept {
    return visible(acquire ? action::load_acquire : action::load, find(word, size));
  }
  void store(const void* word, std::size_t size, std::uint64_t value, bool release) noexcept {
    if (!initialising_ && !fresh()) return;
    const std::uint8_t at = find(word, size);
    if (at == none) return;
    if (initialising_) {
      presets_[at] = value;
      return;
    }
    if (now_->shared.contested(running_, at)) {
      fail("both sides write " + words_[at].name + " and neither waits for the other");
    }
    now_->shared.store(running_, at, value, release);
    if (story_ != nullptr) {
      tell(running_, words_[at].name + " = " + number(value) + (release ? ", release" : ""));
    }
  }
  void full_fence() noexcept { visible(action::fence, 0); }
  void light_fence() noexcept {
    if (!fresh()) return;
    now_->shared.light_fence(running_);
    tell(running_, "acquire-release fence");
  }

 private:
  static constexpr std::uint8_t none = 255;
  struct word_name {
    std::string name;
    std::size_t size;
  };

  [[nodiscard]] std::size_t offset(const void* word) const noexcept {
    return static_cast<std::size_t>(static_cast<const std::byte*>(word) - base_) / 2;
  }
  [[nodiscard]] std::uint8_t find(const void* word, std::size_t size) noexcept {
    const std::size_t where = offset(word);
    const std::uint8_t at = where < at_.size() ? at_[where] : none;
    if (at != none && words_[at].size == size) return at;
    fail("an access to something that is not a shared word");
    return none;
  }

  /// Whether the operation got past what it did in earlier runs.
  [[nodiscard]] bool fresh() const noexcept {
    return !parked_ && replayed_ == now_->sides[index(running_)].log.size();
  }

  // An access that the other side can notice or influence: the result, or where the run is cut off.
  std::uint64_t visible(action what, std::uint8_t word) noexcept {
    if (parked_) return 0;
    side_state& at = now_->sides[index(running_)];
    if (replayed_ < at.log.size()) {
      const side_state::access& done = at.log[replayed_++];
      if (done.what != what || done.word != word) {
        fail("an operation ran differently again: private state that visit leaves out");
      }
      return done.got;
    }
    at.next = {what, word, 0};
    parked_ = true;
    if (what == action::wait) tell(running_, "sleeps");
    return 0;
  }

  void run(side one) {
    running_ = one;
    side_state& at = now_->sides[index(one)];
    script& program = *scripts_[index(one)];
    for (int quiet = 0; violation_.empty(); ++quiet) {
      if (quiet == 100) fail("a side that runs without ever looking at shared memory");
      program.restore(at.start);
      doing_[index(one)] = program.doing();
      replayed_ = 0;
      parked_ = false;
      program.operate();
      if (parked_) return;
      at.start = program.save();
      at.log.clear();
      at.next = {};
      at.finished = program.finished();
      if (at.finished) return;
    }
  }

  void tell(side one, const char* what) {
    if (story_ != nullptr) tell(one, std::string(what));
  }
  void tell(side one, const std::string& what) {
    std::string line(one == side::driver ? "driver  " : "device  ");
    line += doing_[index(one)];
    line.resize(17, ' ');
    *story_ += line + what + "\n";
  }
  void tell_load(side one, const side_state::access& done) {
    if (story_ == nullptr) return;
    const std::uint64_t newest = now_->shared.newest(done.word);
    tell(one, words_[done.word].name + " -> " + number(done.got) +
                  (done.what == action::load_acquire ? ", acquire" : "") +
                  (done.got == newest ? "" : "   (" + number(newest) + " is on its way)"));
  }
  [[nodiscard]] static std::string number(std::uint64_t value) {
    if (value <= UINT16_MAX) return std::to_string(value);
    std::array<char, 20> text{};
    std::snprintf(text.data(), text.size(), "0x%llx", static_cast<unsigned long long>(value));
    return text.data();
  }

  strength model_;
  bool notifications_order_;
  const std::byte* base_;
  std::vector<std::uint8_t> at_;
  std::vector<word_name> words_;
  std::vector<std::uint64_t> presets_;
  std::array<script*, 2> scripts_{};
  std::array<private_words, 2> initial_{};
  std::array<const char*, 2> doing_{"", ""};
  std::string* story_ = nullptr;
  std::string violation_;
  unsigned events_ = 0;

  // The run at hand.
  state* now_ = nullptr;
  side running_ = side::driver;
  std::size_t replayed_ = 0;
  bool parked_ = false;
  bool initialising_ = true;
};

}  // namespace vkring::test::model

#endif  // VKRING_TESTS_MODEL_MACHINE_HPP
