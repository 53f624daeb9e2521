// irc-framework (The Lounge, Kiwi IRC): a general IRC client, over TCP or, with its own WebSocket transport, over WebSocket.
import { createRequire } from 'node:module';
import IRC from 'irc-framework';
import { obey, report, target } from './driver.mjs';

const require = createRequire(import.meta.url);
const options = { host: target.host, port: target.port, tls: false, nick: target.login, username: target.login, password: target.token, auto_reconnect: false };
if (target.transport === 'websocket') {
  globalThis.WebSocket ??= require('ws'); // its transport is made for browsers
  options.transport = require('irc-framework/src/transports/websocket.js');
}

const client = new IRC.Client();
client.requestCap(['twitch.tv/tags', 'twitch.tv/commands', 'twitch.tv/membership']);
client.on('registered', () => client.join(target.channel));
client.on('join', ({ nick }) => { if (nick === target.login) report('joined'); });
client.on('part', ({ nick }) => { if (nick === target.login) report('parted'); });
client.on('privmsg', ({ nick, target: channel, message, tags }) => report('heard', { from: nick, channel, text: message, tags }));
client.on('socket close', () => report('disconnected', { reason: 'socket close' }));

obey({
  say: (text) => client.say(target.channel, text),
  part: () => client.part(target.channel),
  quit: () => new Promise((resolve) => { client.once('socket close', resolve); client.quit(); }),
});
client.connect(options);
