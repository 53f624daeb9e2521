// Fan-out load: members that read, senders that talk, and what each line cost the server and how late it came.
//
//   fan HOST PORT MEMBERS SENDERS RATE SECONDS LENGTH PID[,PID] [pass] [key=value ...]
//
// It opens SENDERS per channel and MEMBERS in all from many loopback addresses, logs in (NICK, USER; with `pass` also
// PASS), joins, then sends RATE lines a second to each channel for SECONDS, with texts of LENGTH bytes that carry the
// sending time. Members drain with MSG_TRUNC (the kernel throws the bytes away); the first 20 are read and parsed,
// which gives delays and the bytes of a line, and with that the deliveries of all. CPU is utime + stime of the PIDs
// from /proc. Servers may cut texts at 500 bytes; LENGTH is refused past that.
//
// key=value:
//   channels=K     K busy channels (members spread evenly over them; RATE is each channel's)
//   tags=1         members ask for twitch.tv/tags and twitch.tv/commands
//   ws=PORT        members come over WebSocket on this port (senders stay on plain IRC); path=/ is the default path
//   join=0         members log in and stay outside every channel (memory of idle sessions)
//   inflight=64    logins under way at a time
//   patience=120   seconds to wait for lines after the last was sent
//   base=0         first number of nicks and loopback source addresses, and
//   letter=c       the channels' first letter: they keep several loads on one server apart
//   serve=1        after the joins, read "RATE SECONDS" lines from stdin and answer each with one line of JSON;
//                  end at end of file. So several servers can take turns without joining again.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 65536, MAX_DELAYS = 4000000, SAMPLES = 20, STDIN_MARK = MAX_FDS, CARRY = 32 };
enum { CONNECTING, UPGRADING, LOGGING_IN, JOINING, READY, CLOSED };

static char *host, *path = "/";
static int port, members, senders, length, channels = 1, ws_port, with_tags, with_pass, inflight = 64;
static int joining = 1, base, serve;
static char letter = 'c';
static double patience = 120;
static int pids[16], n_pids;
static int total, ep;
static int fd[MAX_FDS], phase[MAX_FDS];
static char carry[MAX_FDS][CARRY];          // the end of what was read last: a mark may be cut in two
static int carried[MAX_FDS];
static char buf[(1 << 20) + CARRY];
static double delay[MAX_DELAYS];
static long n_delay, lost, notices;
static char first_notice[160];

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static double cpu_seconds(void) {
    double sum = 0;
    for (int i = 0; i < n_pids; i++) {
        char name[64], b[2048];
        sprintf(name, "/proc/%d/stat", pids[i]);
        FILE *f = fopen(name, "r");
        if (!f) continue;
        size_t n = fread(b, 1, sizeof b - 1, f);
        b[n] = 0;
        fclose(f);
        unsigned long user = 0, sys = 0;
        char *q = strrchr(b, ')');
        if (q) sscanf(q + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
        sum += (user + sys) / (double)sysconf(_SC_CLK_TCK);
    }
    return sum;
}

static long rss_kb(void) {
    long sum = 0;
    for (int i = 0; i < n_pids; i++) {
        char name[64];
        sprintf(name, "/proc/%d/statm", pids[i]);
        FILE *f = fopen(name, "r");
        long size, resident;
        if (!f) continue;
        if (fscanf(f, "%ld %ld", &size, &resident) == 2) sum += resident * (sysconf(_SC_PAGESIZE) / 1024);
        fclose(f);
    }
    return sum;
}

static int is_sender(int x) { return x >= members && x < total; }
static int is_sample(int x) { return x < members && x < SAMPLES; }
static int over_ws(int x) { return ws_port && !is_sender(x); }

static void channel_of(int x, char *name) {
    if (channels == 1) sprintf(name, "#%c", letter);
    else sprintf(name, "#%c%02d", letter, (x < members ? x : x - members) % channels);
}

// One client frame: FIN, text, masked. The mask is constant: it is there because RFC 6455 wants one.
static int put(int x, const char *data, int n) {
    if (!over_ws(x)) return write(fd[x], data, n) == n ? 0 : -1;
    unsigned char frame[1024], mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    int h = 0;
    frame[h++] = 0x81;
    if (n < 126) frame[h++] = 0x80 | n;
    else { frame[h++] = 0x80 | 126; frame[h++] = n >> 8; frame[h++] = n & 255; }
    memcpy(frame + h, mask, 4);
    h += 4;
    for (int i = 0; i < n; i++) frame[h + i] = data[i] ^ mask[i & 3];
    return write(fd[x], frame, h + n) == h + n ? 0 : -1;
}

static void log_in(int x) {
    char m[400];
    int n = sprintf(m, "%s%sNICK %c%05d\r\nUSER u 0 * :x\r\n",
                    with_tags && !is_sender(x) ? "CAP REQ :twitch.tv/tags twitch.tv/commands\r\n" : "",
                    with_pass ? "PASS oauth:x\r\n" : "", is_sender(x) ? 's' : 'r', x + base);
    if (put(x, m, n)) perror("login");
    phase[x] = LOGGING_IN;
}

static int open_one(int x, int number) {
    int one = 1, room = 1 << 18;
    int s = socket(AF_INET, SOCK_STREAM, 0);
    if (s < 0) { perror("socket"); return -1; }
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(over_ws(x) ? ws_port : port)};
    struct sockaddr_in from = {.sin_family = AF_INET};
    char ip[32];
    number += base;
    sprintf(ip, "127.0.%d.%d", 1 + number / 200, 1 + number % 200);
    inet_aton(ip, &from.sin_addr);
    inet_aton(host, &to.sin_addr);
    if (bind(s, (void *)&from, sizeof from)) perror("bind");
    if (connect(s, (void *)&to, sizeof to)) { perror("connect"); return -1; }
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (!is_sender(x)) setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    fcntl(s, F_SETFL, O_NONBLOCK);
    fd[x] = s;
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = x};
    epoll_ctl(ep, EPOLL_CTL_ADD, s, &e);
    if (over_ws(x)) {
        char m[400];
        int n = sprintf(m, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Protocol: irc\r\n\r\n", path, host, ws_port);
        if (write(s, m, n) != n) perror("upgrade");
        phase[x] = UPGRADING;
    } else {
        log_in(x);
    }
    return 0;
}

// Reads into buf behind what was carried over; returns the bytes in buf (0: nothing now, -1: the connection is gone).
static int read_some(int x, int *fresh) {
    memcpy(buf, carry[x], carried[x]);
    int n = recv(fd[x], buf + carried[x], sizeof buf - CARRY - 1, 0);
    *fresh = n;
    if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
    n += carried[x];
    buf[n] = 0;
    return n;
}

static void carry_over(int x, const char *from, int n) {
    if (n > CARRY - 1) { from += n - (CARRY - 1); n = CARRY - 1; }
    memmove(carry[x], from, n);
    carried[x] = n;
}

static char *find(const char *in, int n, const char *what) { return memmem(in, n, what, strlen(what)); }

static void answer_ping(int x, char *in, int n) {
    char *p = find(in, n, "PING :"), *e;
    if (!p || !(e = memchr(p, '\n', in + n - p))) return;
    char m[200];
    int size = e - p - 6 > 150 ? 150 : e - p - 6;
    put(x, m, sprintf(m, "PONG :%.*s\n", size, p + 6));
}

static void gone(int x) {
    lost++;
    phase[x] = CLOSED;
    close(fd[x]);
}

static int join_all(void) {
    struct epoll_event ev[1024];
    int started = 0, joined = 0;
    double t0 = now();
    while (joined < total) {
        while (started < total && started - joined < inflight) {
            int n_send = total - members, x = started < n_send ? members + started : started - n_send;  // senders first
            if (open_one(x, started)) return -1;
            started++;
        }
        int k = epoll_wait(ep, ev, 1024, 1000);
        for (int i = 0; i < k; i++) {
            int x = ev[i].data.u32, fresh;
            if (x == STDIN_MARK) continue;
            int n = read_some(x, &fresh);
            if (n < 0) { fprintf(stderr, "connection %d of %d was closed while joining: %s\n", x, total, buf); return -1; }
            if (n == 0) continue;
            char *p;
            if (phase[x] == UPGRADING) {
                if (!(p = find(buf, n, "\r\n\r\n"))) { carry_over(x, buf, n); continue; }
                if (!find(buf, n, " 101 ")) { fprintf(stderr, "no WebSocket at %s:%d%s: %.60s\n", host, ws_port, path, buf); return -1; }
                log_in(x);
                carried[x] = 0;
                continue;
            }
            answer_ping(x, buf, n);
            if (phase[x] == LOGGING_IN && (find(buf, n, " 001 ") || find(buf, n, " 376 ") || find(buf, n, " 422 "))) {
                if (joining || is_sender(x)) {
                    char m[64], name[16];
                    channel_of(x, name);
                    put(x, m, sprintf(m, "JOIN %s\r\n", name));
                    phase[x] = JOINING;
                } else {
                    phase[x] = READY;
                    joined++;
                }
                carried[x] = 0;
            } else if (phase[x] == JOINING && find(buf, n, " 366 ")) {
                phase[x] = READY;
                joined++;
                carried[x] = 0;
            } else if (phase[x] != READY) {
                carry_over(x, buf, n);
            }
        }
        if (now() - t0 > 240) { fprintf(stderr, "only %d of %d joined in 240 s\n", joined, total); return -1; }
    }
    return 0;
}

// Reads everything for `seconds`, answers PINGs; returns at once when stdin has something (serve).
static int drain(double seconds) {
    struct epoll_event ev[1024];
    double t0 = now();
    while (now() - t0 < seconds) {
        int k = epoll_wait(ep, ev, 1024, 100);
        for (int i = 0; i < k; i++) {
            int x = ev[i].data.u32, fresh;
            if (x == STDIN_MARK) return 1;
            carried[x] = 0;
            int n = read_some(x, &fresh);
            if (n < 0) gone(x);
            else if (n > 0) answer_ping(x, buf, n);
        }
    }
    return 0;
}

// Texts carry " :T" and 17 characters of time. Counts them, notes their delays, keeps a cut end.
static int take_delays(int x, int n, double t, double *into, long *count) {
    int lines = 0;
    char *p = buf, *end = buf + n;
    while ((p = memmem(p, end - p, " :T", 3)) && p + 20 <= end) {
        if (*count < MAX_DELAYS) into[(*count)++] = t - atof(p + 3);
        lines++;
        p += 20;
    }
    if (p) carry_over(x, p, end - p);
    else carry_over(x, n > 2 ? end - 2 : buf, n > 2 ? 2 : n);
    return lines;
}

static int by_value(const void *a, const void *b) {
    double x = *(double *)a, y = *(double *)b;
    return x < y ? -1 : x > y;
}

static double at(double *sorted, long n, double share) {
    return n ? sorted[(long)(n * share) < n ? (long)(n * share) : n - 1] * 1e3 : 0;
}

static int send_line(int x, double t) {
    char m[700], name[16];
    channel_of(x, name);
    int head = sprintf(m, "PRIVMSG %s :", name), n = head;
    n += sprintf(m + n, "T%017.6f ", t);
    while (n < length + head) m[n++] = 'x';
    m[n++] = '\r';
    m[n++] = '\n';
    int w = write(fd[x], m, n);
    if (w == n) return 1;
    if (w < 0 && errno == EAGAIN) return 0;
    fprintf(stderr, "sender %d: write gave %d of %d (errno %d)\n", x, w, n, errno);
    return -1;
}

static int run(double rate, double seconds, double join_s, double join_cpu_s, double kb_each) {
    struct epoll_event ev[1024];
    long sent = 0, held = 0;
    uint64_t bytes = 0, reads = 0, sample_bytes = 0, sample_lines = 0;
    double cpu0 = cpu_seconds(), start = now(), end = start + seconds, last = start, late = 0;
    double all_rate = rate * channels;
    n_delay = lost = notices = 0;
    first_notice[0] = 0;
    memset(carried, 0, sizeof carried);
    while (1) {
        double t = now();
        if (t < end) {
            long due = (t - start) * all_rate;
            while (sent < due) {
                double at_due = start + (sent + 1) / all_rate;
                if (t - at_due > late) late = t - at_due;
                int ok = send_line(members + sent % channels + channels * ((sent / channels) % senders), t);
                if (ok < 0) return -1;
                if (!ok) { held++; break; }
                sent++;
            }
        }
        int k = epoll_wait(ep, ev, 1024, t < end ? 1 : 200);
        if (k == 0 && t >= end && now() - last > 1.0) break;
        for (int i = 0; i < k; i++) {
            int x = ev[i].data.u32, fresh;
            if (x == STDIN_MARK || phase[x] == CLOSED) continue;
            if (is_sample(x) || is_sender(x)) {
                int n = read_some(x, &fresh);
                if (n < 0) { gone(x); continue; }
                if (n == 0) continue;
                double t_read = now();
                if (is_sender(x)) {
                    char *p;
                    if ((p = find(buf, n, " NOTICE "))) {
                        if (!notices++) snprintf(first_notice, sizeof first_notice, "%.*s", (int)strcspn(p + 1, "\r\n"), p + 1);
                    }
                    answer_ping(x, buf, n);
                    continue;
                }
                last = t_read;
                sample_lines += take_delays(x, n, t_read, delay, &n_delay);
                sample_bytes += fresh;
                bytes += fresh;
                reads++;
            } else {
                ssize_t n = recv(fd[x], buf, sizeof buf, MSG_TRUNC);
                if (n > 0) { bytes += n; reads++; last = now(); }
                else if (n == 0 || errno != EAGAIN) gone(x);
            }
        }
        if (now() - end > patience) break;
    }
    double elapsed = last - start, cpu = cpu_seconds() - cpu0;
    double per_line = sample_lines ? (double)sample_bytes / sample_lines : 0;
    double delivered = per_line ? bytes / per_line : 0, expected = 0;
    for (int c = 0; c < channels; c++) {
        long in_channel = sent / channels + (c < sent % channels), readers = members / channels + (c < members % channels);
        expected += (double)in_channel * readers;
    }
    if (delivered <= 0) delivered = 1e-9;
    qsort(delay, n_delay, sizeof *delay, by_value);
    if (serve) {
        for (char *p = first_notice; *p; p++) if (*p == '"' || *p == '\\' || (unsigned char)*p < 32) *p = '\'';
        printf("{\"members\":%d,\"channels\":%d,\"rate\":%g,\"sent\":%ld,\"delivered\":%.0f,\"expected\":%.0f,\"ratio\":%.5f,"
               "\"elapsed_s\":%.3f,\"deliveries_per_s\":%.0f,\"lines_per_read\":%.2f,\"cpu_s\":%.2f,\"us_per_delivery\":%.4f,"
               "\"p50_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f,\"closed\":%ld,\"line_bytes\":%.1f,\"late_ms\":%.1f,"
               "\"held\":%ld,\"notices\":%ld,\"notice\":\"%s\"}\n",
               members, channels, rate, sent, delivered, expected, expected ? delivered / expected : 0, elapsed,
               delivered / elapsed, reads ? delivered / reads : 0, cpu, cpu / delivered * 1e6, at(delay, n_delay, .5),
               at(delay, n_delay, .99), at(delay, n_delay, 1), lost, per_line, late * 1e3, held, notices, first_notice);
    } else {
        printf("N=%d join_s=%.2f join_cpu_s=%.2f rssKB/conn=%.2f sent=%ld offered=%.0f/s delivered=%.0f expected=%.0f ratio=%.4f "
               "elapsed=%.2f deliveries/s=%.0f reads=%lu msgs/read=%.1f cpu_s=%.2f us/delivery=%.3f lat p50=%.1fms "
               "p99=%.1fms max=%.1fms closed=%ld linelen=%.1f",
               members, join_s, join_cpu_s, kb_each, sent, all_rate * members / channels, delivered, expected,
               expected ? delivered / expected : 0, elapsed, delivered / elapsed, reads, reads ? delivered / reads : 0, cpu,
               cpu / delivered * 1e6, at(delay, n_delay, .5), at(delay, n_delay, .99), at(delay, n_delay, 1), lost, per_line);
        if (notices) printf(" notices=%ld (%s)", notices, first_notice);
        printf("\n");
    }
    fflush(stdout);
    return 0;
}

static int option(const char *arg) {
    char key[32];
    const char *value = strchr(arg, '=');
    if (!value || value - arg > 30) return -1;
    snprintf(key, sizeof key, "%.*s", (int)(value - arg), arg);
    value++;
    if (!strcmp(key, "channels")) channels = atoi(value);
    else if (!strcmp(key, "tags")) with_tags = atoi(value);
    else if (!strcmp(key, "ws")) ws_port = atoi(value);
    else if (!strcmp(key, "path")) path = strdup(value);
    else if (!strcmp(key, "join")) joining = atoi(value);
    else if (!strcmp(key, "inflight")) inflight = atoi(value);
    else if (!strcmp(key, "patience")) patience = atof(value);
    else if (!strcmp(key, "base")) base = atoi(value);
    else if (!strcmp(key, "letter")) letter = value[0];
    else if (!strcmp(key, "serve")) serve = atoi(value);
    else return -1;
    return 0;
}

int main(int c, char **v) {
    if (c < 9) {
        fprintf(stderr, "fan HOST PORT MEMBERS SENDERS RATE SECONDS LENGTH PID[,PID] [pass] [key=value ...]\n");
        return 2;
    }
    host = v[1];
    port = atoi(v[2]);
    members = atoi(v[3]);
    senders = atoi(v[4]);
    double rate = atof(v[5]), seconds = atof(v[6]);
    length = atoi(v[7]);
    for (char *t = strtok(v[8], ","); t && n_pids < 16; t = strtok(0, ",")) pids[n_pids++] = atoi(t);
    for (int i = 9; i < c; i++) {
        if (!strchr(v[i], '=')) with_pass = 1;
        else if (option(v[i])) { fprintf(stderr, "unknown option %s\n", v[i]); return 2; }
    }
    if (length < 20 || length > 500) { fprintf(stderr, "LENGTH must be 20 to 500: servers cut texts there\n"); return 2; }
    if (channels < 1 || channels > 99 || senders < 1) { fprintf(stderr, "channels must be 1 to 99, SENDERS at least 1\n"); return 2; }
    total = members + senders * channels;
    if (total >= MAX_FDS) { fprintf(stderr, "too many connections\n"); return 2; }

    ep = epoll_create1(0);
    long rss0 = rss_kb();
    double t0 = now(), join_cpu0 = cpu_seconds();
    if (join_all()) return 1;
    double join_s = now() - t0, join_cpu_s = cpu_seconds() - join_cpu0;
    drain(1.5);
    double kb_each = (double)(rss_kb() - rss0) / total;
    if (!serve) return run(rate, seconds, join_s, join_cpu_s, kb_each) ? 1 : 0;

    printf("{\"joined\":%d,\"join_s\":%.3f,\"join_cpu_s\":%.2f,\"kb_per_connection\":%.3f}\n", total, join_s, join_cpu_s, kb_each);
    fflush(stdout);
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = STDIN_MARK};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, 0, &e)) { fprintf(stderr, "serve=1 needs a pipe as stdin\n"); return 2; }
    char line[128];
    while (1) {
        while (!drain(3600)) {}
        if (!fgets(line, sizeof line, stdin)) return 0;
        if (sscanf(line, "%lf %lf", &rate, &seconds) != 2) continue;
        // A line from everybody (this takes one second: fan.py counts on it): members read blindly while a run lasts, and may owe the server a sign of life.
        epoll_ctl(ep, EPOLL_CTL_DEL, 0, 0);
        for (int x = 0; x < total; x++) if (phase[x] == READY) put(x, "PING :k\r\n", 9);
        drain(1.0);
        if (run(rate, seconds, join_s, join_cpu_s, kb_each)) return 1;
        epoll_ctl(ep, EPOLL_CTL_ADD, 0, &e);
    }
}
