// SPDX-License-Identifier: BSD-3-Clause
#include "http_server.hpp"

#include <lwip/pbuf.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <string>
#include <utility>

namespace lwip_example {

namespace {

class connection {
 public:
  connection(const http_server& server, tcp_pcb* pcb) : server_(&server), pcb_(pcb) {
    tcp_arg(pcb, this);
    tcp_recv(pcb, [](void* self, tcp_pcb*, pbuf* data, err_t) {
      return static_cast<connection*>(self)->receive(data);
    });
    tcp_sent(pcb, [](void* self, tcp_pcb*, u16_t) {
      return static_cast<connection*>(self)->go_on();
    });
    // What lwIP had no memory for is tried again.
    constexpr u8_t half_seconds = 1;
    tcp_poll(pcb, [](void* self, tcp_pcb*) { return static_cast<connection*>(self)->go_on(); },
             half_seconds);
    tcp_err(pcb, [](void* self, err_t) { delete static_cast<connection*>(self); });
  }

 private:
  static constexpr std::size_t longest_head = 8192;

  err_t receive(pbuf* data) {
    if (data == nullptr) {
      closing_ = true;
      return go_on();
    }
    for (const pbuf* each = data; each != nullptr; each = each->next) {
      read({static_cast<const char*>(each->payload), each->len});
    }
    tcp_recved(pcb_, data->tot_len);
    pbuf_free(data);
    return go_on();
  }

  void read(std::string_view text) {
    if (answering_) return;
    if (in_body_) return compare(text);
    head_ += text;
    const auto end = head_.find("\r\n\r\n");
    if (end == head_.npos) {
      if (head_.size() > longest_head) answer("431 Request Header Fields Too Large", {});
      return;
    }
    const std::string body = head_.substr(end + 4);
    head_.resize(end + 2);
    begin();
    if (!answering_) compare(body);
  }

  void begin() {
    if (head_.starts_with("GET ")) return answer("200 OK", server_->file());
    if (!head_.starts_with("PUT ")) return answer("405 Method Not Allowed", {});
    constexpr std::string_view name = "\r\nContent-Length: ";
    const auto at = head_.find(name);
    if (at == head_.npos) return answer("411 Length Required", {});
    std::from_chars(head_.data() + at + name.size(), head_.data() + head_.size(), left_);
    in_body_ = true;
  }

  void compare(std::string_view text) {
    text = text.substr(0, left_);
    same_ = same_ && server_->file().substr(std::min(compared_, server_->file().size()),
                                            text.size()) == text;
    compared_ += text.size();
    left_ -= text.size();
    if (left_ != 0) return;
    const bool whole = compared_ == server_->file().size();
    answer(same_ && whole ? "200 OK" : "409 Conflict", {});
  }

  void answer(const char* status, std::string_view body) {
    head_ = std::string("HTTP/1.1 ") + status + "\r\nContent-Length: " +
            std::to_string(body.size()) + "\r\nConnection: close\r\n\r\n";
    pending_ = head_;
    body_ = body;
    answering_ = true;
  }

  // Gives lwIP as much as it takes, and closes when that was all.
  err_t go_on() {
    while (!pending_.empty() || !body_.empty()) {
      if (pending_.empty()) pending_ = std::exchange(body_, {});
      const std::size_t room = std::min<std::size_t>({pending_.size(), tcp_sndbuf(pcb_), 0xffff});
      if (room == 0) break;
      const bool more = room < pending_.size() || !body_.empty();
      const auto flags = static_cast<u8_t>(TCP_WRITE_FLAG_COPY | (more ? TCP_WRITE_FLAG_MORE : 0));
      if (tcp_write(pcb_, pending_.data(), static_cast<u16_t>(room), flags) != ERR_OK) break;
      pending_.remove_prefix(room);
    }
    tcp_output(pcb_);
    if (!closing_ && !(answering_ && pending_.empty() && body_.empty())) return ERR_OK;
    // Afterwards lwIP owns the rest of the connection, and `this` is nobody's.
    tcp_arg(pcb_, nullptr);
    tcp_recv(pcb_, nullptr);
    tcp_sent(pcb_, nullptr);
    tcp_poll(pcb_, nullptr, 0);
    tcp_err(pcb_, nullptr);
    tcp_pcb* const pcb = pcb_;
    delete this;
    if (tcp_close(pcb) == ERR_OK) return ERR_OK;
    tcp_abort(pcb);
    return ERR_ABRT;
  }

  const http_server* server_;
  tcp_pcb* pcb_;
  std::string head_;           // of the request, then of the answer
  std::string_view pending_;   // what lwIP is to be given next, then
  std::string_view body_;      // the file
  std::size_t left_ = 0;       // of the request's body
  std::size_t compared_ = 0;
  bool in_body_ = false;
  bool same_ = true;
  bool answering_ = false;
  bool closing_ = false;
};

}  // namespace

bool http_server::listen(u16_t port) {
  tcp_pcb* const fresh = tcp_new_ip_type(IPADDR_TYPE_ANY);
  if (fresh == nullptr) return false;
  if (tcp_bind(fresh, IP_ANY_TYPE, port) != ERR_OK) {
    tcp_close(fresh);
    return false;
  }
  tcp_pcb* const listening = tcp_listen(fresh);
  if (listening == nullptr) return false;
  tcp_arg(listening, this);
  tcp_accept(listening, &http_server::accept);
  return true;
}

err_t http_server::accept(void* self, tcp_pcb* pcb, err_t error) {
  if (pcb == nullptr || error != ERR_OK) return ERR_VAL;
  new connection(*static_cast<http_server*>(self), pcb);  // lwIP's callbacks own it
  return ERR_OK;
}

}  // namespace lwip_example
