// The least server there can be for the load: it lets everybody in and copies each line to all members of its channel.
//
//   calibrate PORT MS [LOSE]
//
//   MS: lines that come within so many milliseconds go out in one write (0: each at once)
//   LOSE: of all writes, one in so many is left out; shows that the load notices (0: none)
//
// It trusts its clients, knows no limits, and answers what the load waits for: 001, 366, ROOMSTATE, USERSTATE with an id,
// PART. Lines look as an edge writes them for readers with tags. A full socket loses what does not fit, and says how much
// of that there was when it ends (SIGTERM).
#include "fan_out.h"

static long messages, lost_writes, writes, lose;

static void stopping(int s) { (void)s; stop = 1; }

static void answer(int f, const char *text, int n) {
    if (send(f, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) != n) lost_writes++;
}

static void tell(int f, const char *text, int n) {
    if (!lose || ++writes % lose) answer(f, text, n);
}

static void take(int f, char *line) {
    char out[LINE * 2];
    if (!strncmp(line, "NICK ", 5)) {
        snprintf(nick[f], sizeof nick[f], "%s", line + 5);
        answer(f, out, sprintf(out, ":fanout 001 %s :hi\r\n", nick[f]));
    } else if (!strncmp(line, "JOIN ", 5)) {
        for (char *save, *name = strtok_r(line + 5, ",", &save); name; name = strtok_r(0, ",", &save)) {
            join(channel_named(name), f);
            answer(f, out, sprintf(out, ":fanout 366 %s %s :End\r\n:fanout ROOMSTATE %s\r\n", nick[f], name, name));
        }
    } else if (!strncmp(line, "PART ", 5)) {
        part(channel_named(line + 5), f);
        answer(f, out, sprintf(out, ":%s PART %s\r\n", nick[f], line + 5));
    } else if (!strncmp(line, "PRIVMSG ", 8)) {
        char *space = strchr(line + 8, ' ');
        if (!space) return;
        *space = 0;
        struct channel *c = channel_named(line + 8);
        *space = ' ';
        messages++;
        publish(c, out, sprintf(out,
            "@badge-info=;badges=;color=#1E90FF;display-name=%s;emotes=;first-msg=0;flags=;"
            "id=b34ccfc7-4977-403a-8a94-%012lx;mod=0;returning-chatter=0;room-id=1337;subscriber=0;"
            "tmi-sent-ts=1507246572675;turbo=0;user-id=1337;user-type= :%s!%s@%s.tmi.twitch.tv %s\r\n",
            nick[f], messages, nick[f], nick[f], nick[f], line));
        answer(f, out, sprintf(out, "@id=%ld :fanout USERSTATE %s\r\n", messages, c->name));
    }
}

int main(int argc, char **argv) {
    if (argc < 3) { fprintf(stderr, "calibrate PORT MS [LOSE]\n"); return 2; }
    lose = argc > 3 ? atol(argv[3]) : 0;
    joined_for = atof(argv[2]) / 1000;
    signal(SIGTERM, stopping);
    int status = serve(atoi(argv[1]));
    printf("messages %ld lost_writes %ld\n", messages, lost_writes);
    return status;
}
