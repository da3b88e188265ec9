/* Keys and certificates that the host sends in pieces, kept until the next reset (PROTOCOL.md, section 8). */
#pragma once

#include <stddef.h>

#include "rig_agent_command.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A text in PEM; `text` has room for `room` bytes, NUL included */
typedef struct {
    char *text;
    size_t room;
    size_t size;
} rig_pem_t;

/** @brief Act on a request with `offset` and `data`; `what` it is, for a person */
esp_err_t rig_pem_take(rig_call_t *call, rig_pem_t *pem, const char *what);

/** @brief The text with a NUL behind it; NULL when there is none */
const char *rig_pem_text(const rig_pem_t *pem);

#ifdef __cplusplus
}
#endif
