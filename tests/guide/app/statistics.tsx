'use client';

import { useStatistics } from './use-event-source';

const SERVER = process.env.NEXT_PUBLIC_SSE_URL ?? 'http://localhost:8080';

export function Statistics() {
  const statistics = useStatistics(SERVER);
  if (!statistics) return <p>No figures: the server has not answered yet.</p>;
  return (
    <dl>
      <dt>Clients</dt>
      <dd>{statistics.connected_clients}</dd>
      <dt>Channels</dt>
      <dd>{statistics.active_channels}</dd>
      <dt>Messages published</dt>
      <dd>{statistics.messages_published}</dd>
      <dt>Messages delivered</dt>
      <dd>{statistics.messages_delivered}</dd>
    </dl>
  );
}
