// @mastondzn/dank-twitch-irc: TCP. It speaks through a second connection that joined nothing, and say() waits for the USERSTATE.
import { ChatClient } from '@mastondzn/dank-twitch-irc';
import { obey, report, target } from './driver.mjs';

const client = new ChatClient({
  username: target.login,
  password: target.token,
  connection: { type: 'tcp', secure: false, host: target.host, port: target.port },
});
client.on('error', (error) => report('failed', { doing: 'connection', why: String(error?.stack ?? error) }));
client.on('PRIVMSG', (message) => report('heard', {
  from: message.senderUsername, channel: `#${message.channelName}`, text: message.messageText,
  tags: {
    'id': message.messageID, 'display-name': message.displayName, 'user-id': message.senderUserID,
    'room-id': message.channelID, 'tmi-sent-ts': String(message.serverTimestampRaw),
  },
}));

const name = target.channel.slice(1);
obey({
  say: (text) => client.say(name, text),
  part: async () => { await client.part(name); report('parted'); },
  quit: () => client.destroy(),
});
await client.connect();
await client.join(name);
report('joined');
