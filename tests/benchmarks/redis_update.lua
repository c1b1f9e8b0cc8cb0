-- Counts a batch and answers it normalized, as StreamNorm does, but without
-- sessions: KEYS[1] = the normalizer; ARGV = rows as FP32 little-endian, number
-- of rows, number of features. The state is count, means, m2s as doubles.
-- One pass around the mean so far (Chan): a division and a root per feature.
local rows, features = tonumber(ARGV[2]), tonumber(ARGV[3])
local x = {struct.unpack('<' .. string.rep('f', rows * features), ARGV[1])}
local columns = '<' .. string.rep('d', features)
local state = redis.call('GET', KEYS[1])
local count, mean, m2 = 0, nil, nil
if state then
  count = struct.unpack('<d', state)
  mean = {struct.unpack(columns, state, 9)}
  m2 = {struct.unpack(columns, state, 9 + 8 * features)}
else
  mean, m2 = {}, {}
  for f = 1, features do
    mean[f], m2[f] = 0, 0
  end
end
local total = count + rows
local values = rows * features
local sqrt = math.sqrt
for f = 1, features do
  local shift, sum, squares = mean[f], 0, 0
  for i = f, values, features do
    local d = x[i] - shift
    sum = sum + d
    squares = squares + d * d
  end
  local center = shift + sum / total
  local spread = m2[f] + squares - sum * sum / total
  mean[f], m2[f] = center, spread
  local scale = spread > 0 and 1 / sqrt(spread / total) or 1
  for i = f, values, features do
    x[i] = (x[i] - center) * scale
  end
end
redis.call('SET', KEYS[1], struct.pack('<d', total) ..
  struct.pack(columns, unpack(mean, 1, features)) ..
  struct.pack(columns, unpack(m2, 1, features)))
return struct.pack('<' .. string.rep('f', values), unpack(x, 1, values))
