// @twurple/chat: WebSocket or TCP. Its port has no option, so it is set on the connection inside; it asks id.twitch.tv
// whose token it holds, so that one address is answered here as Twitch would answer it.
import { StaticAuthProvider } from '@twurple/auth';
import { ChatClient } from '@twurple/chat';
import { obey, report, target } from './driver.mjs';

globalThis.fetch = async (url) => {
  if (new URL(url).hostname !== 'id.twitch.tv') throw new Error(`unexpected request to ${url}`);
  const scopes = ['chat:read', 'chat:edit'];
  return Response.json({ client_id: 'none', login: target.login, user_id: '1', scopes, expires_in: 3600 });
};

const client = new ChatClient({
  authProvider: new StaticAuthProvider('none', target.token.replace('oauth:', ''), ['chat:read', 'chat:edit']),
  hostName: target.host,
  ssl: false,
  webSocket: target.transport === 'websocket',
  requestMembershipEvents: true,
  channels: [target.channel],
});
client._ircClient._connection._target.port = target.port;

client.onJoin((channel, user) => { if (user === target.login) report('joined'); });
client.onPart((channel, user) => { if (user === target.login) report('parted'); });
client.onMessage((channel, from, text, message) => report('heard', {
  from, channel: `#${channel}`, text,
  tags: {
    'id': message.id, 'display-name': message.userInfo.displayName, 'user-id': message.userInfo.userId,
    'room-id': message.channelId, 'tmi-sent-ts': String(message.date.getTime()),
  },
}));
client.onJoinFailure((channel, reason) => report('failed', { doing: 'join', why: reason }));
client.onTokenFetchFailure((error) => report('failed', { doing: 'token', why: String(error) }));
client.onAuthenticationFailure((text) => report('failed', { doing: 'login', why: text }));
client.onDisconnect((manually, reason) => report('disconnected', { reason: String(reason ?? 'asked') }));

obey({
  say: (text) => client.say(target.channel, text),
  part: () => client.part(target.channel),
  quit: () => client.quit(),
});
client.connect();
