/* What a product does on the first start of an update: look whether it works, then confirm or reject it. */
#pragma once

/** @brief Run the diagnostics; end in confirmation, rejection, or as the bench has asked for */
void diagnostics_run(void);

/** @brief Confirm later, if the outcome is a delay: call it when the agent serves. Waits until that is done */
void diagnostics_finish(void);
