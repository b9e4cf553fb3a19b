// SPDX-License-Identifier: GPL-2.0-only

#include "model_file.h"

#include <sstream>
#include <stdexcept>

namespace mlcalc {

static const char MAGIC[] = "mlcalc-lammps";
static constexpr int VERSION = 1;
static constexpr size_t LONGEST_HEADER = 1 << 22;

// Words of the header, each entry by its name.
class Header {
 public:
  explicit Header(const std::string &text) : words(text) {}

  template <class T> T next(const char *what)
  {
    T value{};
    if (!(words >> value)) throw std::runtime_error(std::string("no readable ") + what + " in its header");
    return value;
  }
  void expect(const char *name)
  {
    const auto found = next<std::string>(name);
    if (found != name) throw std::runtime_error("entry '" + found + "' in its header, expected '" + name + "'");
  }
  double number(const char *name, double low, double high)
  {
    const double value = next<double>(name);
    if (!(value >= low && value <= high)) refuse(name);
    return value;
  }
  int count(const char *name, int low, int high, int multiple = 1)
  {
    const int value = next<int>(name);
    if (value < low || value > high || value % multiple) refuse(name);
    return value;
  }

 private:
  [[noreturn]] static void refuse(const std::string &name) { throw std::runtime_error(name + " out of bounds in its header"); }

  std::istringstream words;
};

static uint32_t crc32(const char *data, size_t size)
{
  uint32_t crc = ~0u;
  for (size_t k = 0; k < size; ++k) {
    crc ^= static_cast<unsigned char>(data[k]);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

static void read_scalars(Header &header, Model &model)
{
  header.expect("architecture");
  model.architecture = header.next<std::string>("architecture");
  header.expect("sizes");
  model.features = header.count("features", LINE, 8192, LINE);
  model.layers = header.count("layers", 1, 64);
  model.hidden = header.count("hidden", LINE, 8192, LINE);
  model.knots = header.count("knots", 1, 1 << 16);
  model.silu = header.count("silu", 0, 1);
  header.expect("lengths");
  model.cutoff = header.number("cutoff", 1e-3, 1e3);
  model.spacing = header.number("spacing", 1e-9, 1e3);
  if (model.cutoff > 1.000001 * model.spacing * model.knots) throw std::runtime_error("a filter table that ends before the cutoff");
  header.expect("elements");
  const int n = header.count("elements", 1, 118);
  for (int k = 0; k < n; ++k) {
    Element element{header.next<std::string>("symbol"), 0, 0.0};
    element.number = header.count("atomic number", 1, 118);
    element.shift = header.number("energy", -1e12, 1e12);
    model.elements.push_back(element);
  }
  header.expect("limits");
  for (int k = 0; k < n * n; ++k) model.limits.push_back(header.number("limit", 0.0, 1e3));
}

static void read_priors(Header &header, Model &model)
{
  Repulsion &zbl = model.repulsion;
  header.expect("repulsion");
  zbl.cutoff = header.number("cutoff of the repulsion", 0.0, model.cutoff);
  for (double *value : {&zbl.coulomb, &zbl.length}) *value = header.number("constant of the repulsion", 0.0, 1e3);
  for (double &value : zbl.coefficients) value = header.number("coefficient of the repulsion", 0.0, 1e3);
  for (double &value : zbl.exponents) value = header.number("exponent of the repulsion", 0.0, 1e3);
  header.expect("angular");
  model.angular.strength = header.number("strength of the angular prior", 0.0, 1e6);
  model.angular.cosine = header.number("cosine of the angular prior", -1.0, 1.0);
  model.angular.decay = header.number("decay of the angular prior", 0.0, 1e6);
  model.angular.cutoff = header.number("cutoff of the angular prior", 0.0, model.cutoff);
}

static void read_arrays(Header &header, Model &model, const std::string &content, size_t start)
{
  header.expect("arrays");
  std::vector<std::string> names(header.count("arrays", 1, 100));
  size_t n_floats = 0;
  for (auto &name : names) {
    name = header.next<std::string>("array");
    model.sizes[name] = header.count("array", 1, 1 << 30);
    n_floats += model.sizes[name];
  }
  header.expect("checksum");
  const auto checksum = header.next<uint32_t>("checksum");
  if (content.size() - start != n_floats * sizeof(float))
    throw std::runtime_error(std::to_string(content.size()) + " bytes, expected " +
                             std::to_string(start + n_floats * sizeof(float)) + ": copy or export it again");
  if (crc32(content.data() + start, content.size() - start) != checksum)
    throw std::runtime_error("its checksum does not fit: copy or export it again");
  for (const auto &name : names) {
    const size_t count = model.sizes[name];
    Rows &rows = model.arrays[name];
    rows.resize((count + LINE - 1) / LINE, LINE);
    std::memcpy(rows[0], content.data() + start, count * sizeof(float));
    start += count * sizeof(float);
  }
}

Model parse_model(const std::string &content)
{
  const size_t end = content.substr(0, LONGEST_HEADER).find("\nend\n");
  if (content.compare(0, sizeof MAGIC - 1, MAGIC) != 0 || end == std::string::npos)
    throw std::runtime_error("no file of 'mlcalc lammps export'");
  Header header(content.substr(0, end));
  header.expect(MAGIC);
  if (const int version = header.next<int>("version"); version != VERSION)
    throw std::runtime_error("format " + std::to_string(version) + ", expected " + std::to_string(VERSION) +
                             ": export the model and build the plugin with the same mlcalc");
  Model model;
  read_scalars(header, model);
  read_priors(header, model);
  read_arrays(header, model, content, end + 5);
  return model;
}

Rows &Model::weights(const std::string &name, size_t count)
{
  if (!sizes.count(name) || sizes[name] != count)
    throw std::runtime_error("array '" + name + "' missing, or not of " + std::to_string(count) + " numbers");
  return arrays[name];
}

}    // namespace mlcalc
