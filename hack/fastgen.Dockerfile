# An image for spec.deployment.imageFastGen: DeepSpeed-FastGen has no official one.
#
#   docker build -t registry.example/fastgen:0.3.3 -f hack/fastgen.Dockerfile hack
#
# DeepSpeed-MII 0.3.3 names the requirement `fastchat`, which on PyPI is another author's package; the one it
# imports is `fschat`. So MII is installed without its requirements, and they are named here.
# httptools and prometheus-client are for the proxy that GUIDE writes into the pod. The versions resolve
# together; the image is built and run by its users, not by the project's tests.
FROM nvidia/cuda:12.4.1-devel-ubuntu22.04

RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-pip python3-dev git \
 && rm -rf /var/lib/apt/lists/*

RUN pip3 install --no-cache-dir \
      "torch==2.5.1" "deepspeed==0.16.4" deepspeed-kernels "transformers==4.49.0" "setuptools<81" \
      accelerate fastapi Flask-RESTful "fschat==0.2.36" grpcio grpcio-tools Pillow "protobuf<6" pyzmq \
      safetensors sentencepiece shortuuid ujson uvicorn Werkzeug \
      "httptools==0.9.0" "prometheus-client==0.26.0" \
 && pip3 install --no-cache-dir --no-deps "deepspeed-mii==0.3.3"

ENTRYPOINT []
CMD ["python3", "/etc/guide/serve.py"]
