"""From a configuration to runs, stacks, slots and costs. Nothing here touches a device."""
