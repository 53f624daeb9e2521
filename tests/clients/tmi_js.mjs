// tmi.js: WebSocket only; connects on 376, joins on USERSTATE then ROOMSTATE, offers the subprotocol "irc".
import tmi from 'tmi.js';
import { obey, report, target } from './driver.mjs';

const client = new tmi.Client({
  options: { skipMembership: false },
  connection: { server: target.host, port: target.port, secure: false, reconnect: false },
  identity: { username: target.login, password: target.token },
  channels: [target.channel],
});
client.on('message', (channel, tags, text, self) => {
  if (self) return; // tmi.js shows its own words by itself; only what the server sent counts
  report('heard', {
    from: tags.username, channel, text,
    tags: { 'id': tags.id, 'display-name': tags['display-name'], 'user-id': tags['user-id'], 'room-id': tags['room-id'], 'tmi-sent-ts': tags['tmi-sent-ts'] },
  });
});
client.on('join', (channel, username, self) => { if (self) report('joined'); });
client.on('part', (channel, username, self) => { if (self) report('parted'); });
client.on('disconnected', (reason) => report('disconnected', { reason }));

obey({
  say: (text) => client.say(target.channel, text),
  part: () => { client.part(target.channel).catch(() => {}); }, // its promise gives up after 600 ms, the event tells
  quit: () => client.disconnect(),
});
client.connect();
