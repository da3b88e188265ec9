/* Shared by the files of the agent. */
#pragma once

#include <stddef.h>

#include "rig_agent_command.h"

extern const rig_command_t rig_query_commands[];
extern const size_t rig_query_commands_count;
extern const rig_command_t rig_change_commands[];
extern const size_t rig_change_commands_count;
extern const rig_command_t rig_update_commands[];
extern const size_t rig_update_commands_count;

extern const rig_command_t rig_gap_commands[];
extern const size_t rig_gap_commands_count;
extern const rig_command_t rig_cut_line_commands[];
extern const size_t rig_cut_line_commands_count;

/** @brief Drop what was received and not yet acted on: something else reads the UART next */
void rig_agent_forget_input(void);
