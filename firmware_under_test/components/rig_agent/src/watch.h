/* The agent's task under the task watchdog. */
#pragma once

/** @brief Put the calling task under the task watchdog */
void rig_watch_join(void);

/** @brief The calling task is alive */
void rig_watch_feed(void);

/** @brief Take the calling task out, for a call that may take longer than the watchdog's time */
void rig_watch_leave(void);
