// SPDX-License-Identifier: BSD-3-Clause
#ifndef LWIP_HTTP_SERVER_HPP
#define LWIP_HTTP_SERVER_HPP

// A web server of one file, on lwIP's raw API.

#include <lwip/tcp.h>

#include <cstdint>
#include <string_view>

namespace lwip_example {

/// Answers GET with the file, whatever its path is, and compares the body of a PUT with it: 200 when
/// they are the same, else 409. One request for each connection.
///
/// Its members and lwIP's callbacks are for lwIP's thread, or whoever has its lock.
class http_server {
 public:
  explicit http_server(std::string_view file) noexcept : file_(file) {}
  http_server(const http_server&) = delete;  // connections point to it
  http_server& operator=(const http_server&) = delete;

  /// Accepts connections to a port of every address. False: no memory, or the port is taken.
  [[nodiscard]] bool listen(u16_t port);

  [[nodiscard]] std::string_view file() const noexcept { return file_; }

 private:
  static err_t accept(void* self, tcp_pcb* pcb, err_t error);

  std::string_view file_;
};

}  // namespace lwip_example

#endif  // LWIP_HTTP_SERVER_HPP
