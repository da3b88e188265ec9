/* The cut line (PROTOCOL.md, section 9). */
#pragma once

/** @brief Forget what an earlier start armed for the bootloader */
void rig_cut_line_init(void);
