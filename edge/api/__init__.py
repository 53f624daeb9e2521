"""The control API, in the shapes of Twitch's Helix, so that code written for that fits (tmi_protocol section 15)."""
