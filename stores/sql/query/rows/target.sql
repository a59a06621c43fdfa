-- Where a link out or a download leads: the property `url` of the event, else its name, else its page; '' for other events.
multiIf(
    type NOT IN ('outbound', 'download'), '',
    JSONExtractString(props, 'url') != '', JSONExtractString(props, 'url'),
    name != '', toString(name),
    path
)
