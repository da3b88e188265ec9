/* The command `ca`: certificates of the update server's authority. */
#include "network.h"
#include "rig_agent_pem.h"

#define ROOM 6144

static char s_text[ROOM];
static rig_pem_t s_pem = {.text = s_text, .room = sizeof(s_text)};

const char *rig_ca_pem(void)
{
    return rig_pem_text(&s_pem);
}

esp_err_t rig_command_ca(rig_call_t *call)
{
    return rig_pem_take(call, &s_pem, "certificates");
}
