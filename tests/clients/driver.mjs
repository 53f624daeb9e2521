// What every node driver shares: its arguments, commands on standard input, events on standard output.
//
//   node NAME.mjs TRANSPORT HOST PORT LOGIN TOKEN CHANNEL      (TRANSPORT: tcp | websocket)
//
// Commands, one a line: "say TEXT", "part", "quit". Events, one JSON object a line: tests/clients/driver.py lists them.
import { createInterface } from 'node:readline';

const [transport, host, port, login, token, channel] = process.argv.slice(2);
export const target = { transport, host, port: Number(port), login, token, channel };

export function report(event, details = {}) {
  process.stdout.write(JSON.stringify({ event, ...details }) + '\n');
}

export function obey({ say, part, quit }) {
  createInterface({ input: process.stdin }).on('line', async (line) => {
    const space = line.indexOf(' ');
    const [verb, text] = space < 0 ? [line, ''] : [line.slice(0, space), line.slice(space + 1)];
    try {
      if (verb === 'say') {
        await say(text);
        report('said', { text });
      } else if (verb === 'part') {
        await part();
      } else {
        await quit();
        process.exit(0);
      }
    } catch (error) {
      report('failed', { doing: verb, why: String(error?.stack ?? error) });
    }
  });
}
