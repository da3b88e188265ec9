"""The request `cut_line` on the device (PROTOCOL.md, section 9)."""

from __future__ import annotations

from rig.virtual.command import Args, CommandError, Device, Reply
from rig.virtual.cut_line import line_of
from rig.virtual.cut_line_request import setting_of


def cut_line(device: Device, args: Args) -> Reply:
    """Arm or disarm the GPIO that cuts the board's supply."""
    line, gpio = line_of(device.cpu), device.features.cut_line_gpio
    if line is None or gpio is None:
        raise CommandError("ESP_ERR_NOT_SUPPORTED", "this app was built without the cut line")
    given = {"in": "app", "nth": "1", "delay_us": "0"} | dict(args)
    if args.get("op") == "off":
        line.disarm()
        return Reply({"op": "off", "gpio": str(gpio)})
    try:
        setting = setting_of(given, device.ota.table)
    except ValueError as error:
        raise CommandError("ESP_ERR_INVALID_ARG", str(error)) from error
    if not setting.ranges:
        raise CommandError("ESP_ERR_NOT_FOUND", "no such partition")
    line.arm(setting)
    fields = {"op": given["op"], "in": setting.where, "nth": str(setting.nth)}
    return Reply(fields | {"delay_us": str(round(setting.delay_s * 1e6)), "gpio": str(gpio)})
