// Prints docs/reference/run_yaml.md.
#include <iostream>

#include "model/run_spec_keys.h"

int main() {
  std::cout << tritter::RunYamlReference();
  return std::cout.good() ? 0 : 1;
}
