// The floor of fan-out: a server that does nothing but copy a channel's lines to its members.
//
//   limit PORT MS      each line at once (MS = 0), or what came within MS milliseconds in one write per member
//
// It parses only what `fan` sends, trusts it, answers a login with 001 and a JOIN with 366, and gives up on a full socket.
#include "../../loadtest/fan_out.h"

static void tell(int f, const char *text, int n) { send(f, text, n, MSG_DONTWAIT | MSG_NOSIGNAL); }

static void take(int f, char *line) {
    char out[LINE * 2];
    if (!strncmp(line, "NICK ", 5)) snprintf(nick[f], sizeof nick[f], "%s", line + 5);
    else if (!strncmp(line, "USER", 4)) tell(f, ":s 001 x :hi\r\n", 14);
    else if (!strncmp(line, "JOIN ", 5)) {
        join(channel_named(line + 5), f);
        tell(f, ":s 366 x #c :End\r\n", 18);
    } else if (!strncmp(line, "PRIVMSG ", 8)) {
        char *space = strchr(line + 8, ' ');
        if (!space) return;
        *space = 0;
        struct channel *c = channel_named(line + 8);
        *space = ' ';
        publish(c, out, sprintf(out, ":%s!%s@%s.tmi.twitch.tv %s\r\n", nick[f], nick[f], nick[f], line));
    }
}

int main(int argc, char **argv) {
    if (argc != 3) { fprintf(stderr, "limit PORT MS\n"); return 2; }
    joined_for = atof(argv[2]) / 1000;
    return serve(atoi(argv[1]));
}
